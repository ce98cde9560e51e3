"""Errors of an exhausted machine, and of a database that cannot be opened for another reason."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from machine_faults import no_descriptors
from nanoclaw_wire import content, inbound, outbound, session_files
from nanoclaw_wire.exhaustion import find_shortage, is_exhausted
from nanoclaw_wire.inbound import Kind, NewInbound

NOW = "2026-01-05T15:04:00.000Z"


@pytest.fixture
def outbound_db(tmp_path: Path) -> Path:
    path = tmp_path / "outbound.db"
    session_files.create_outbound(path)
    return path


@pytest.fixture
def full_directory(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system without free space, which needs root."""
    directory = tmp_path / "full"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"the user may not mount a file system: {done.stderr.strip()}"
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    (directory / "filler").write_bytes(b"x" * 4096)
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_open_without_descriptors_is_exhausted(outbound_db: Path) -> None:
    """SQLite reports only that it cannot open the file; the probe finds the reason."""
    with no_descriptors(), pytest.raises(apsw.CantOpenError) as caught:
        session_files.open_writable(outbound_db)
    assert is_exhausted(caught.value)


def test_write_without_descriptors_is_exhausted(outbound_db: Path) -> None:
    """SQLite opens the journal for each transaction. Nothing is stored, and the next write succeeds."""
    db = session_files.open_writable(outbound_db)
    with no_descriptors(), pytest.raises(apsw.CantOpenError) as caught:
        outbound.acquire(db, runner="a", now=NOW)
    assert is_exhausted(caught.value)
    assert outbound.state(db, outbound.RUNNER) is None
    outbound.acquire(db, runner="b", now=NOW)
    assert outbound.state(db, outbound.RUNNER) == "b"
    db.close()


def test_full_disk_in_a_transaction_is_exhausted(tmp_path: Path) -> None:
    """SQLite itself rolls back, so the rollback of `with db` fails too and hides the error."""
    session_files.create_inbound(tmp_path / "inbound.db")
    db = session_files.open_writable(tmp_path / "inbound.db")
    db.pragma("max_page_count", 1)  # SQLite keeps the existing pages
    message = NewInbound(
        id="in-1", kind=Kind.CHAT, at=NOW, content=content.chat("x" * 100_000, sender="Ann", sender_id="chat:ann")
    )
    with pytest.raises(apsw.Error) as caught:
        inbound.append(db, [message])
    assert is_exhausted(caught.value)
    db.close()


def test_missing_table_in_a_transaction_is_not_exhausted(outbound_db: Path) -> None:
    """The file is at fault, although the error has the class of a failed rollback."""
    db = session_files.open_writable(outbound_db)
    with pytest.raises(apsw.SQLError) as caught:
        inbound.append(db, [])
    assert not is_exhausted(caught.value)
    db.close()


def test_open_of_missing_file_is_not_exhausted(tmp_path: Path) -> None:
    """The machine has descriptors and space, so the file is at fault."""
    with pytest.raises(apsw.CantOpenError) as caught:
        session_files.open_writable(tmp_path / "outbound.db")
    assert not is_exhausted(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_read_without_descriptors_is_exhausted(outbound_db: Path) -> None:
    """The VFS for untrusted files keeps the cause."""
    with no_descriptors(), pytest.raises(apsw.CantOpenError) as caught:
        session_files.open_readable(outbound_db)
    assert is_exhausted(caught.value)


def test_probe_of_full_disk_finds_it(full_directory: Path) -> None:
    """A file can be created but not written, and the probe leaves no file."""
    shortage = find_shortage(full_directory)
    assert shortage is not None
    assert shortage.errno == errno.ENOSPC
    assert [path.name for path in full_directory.iterdir()] == ["filler"]


def test_probe_of_missing_directory_finds_nothing(tmp_path: Path) -> None:
    """A missing directory is not a shortage."""
    assert find_shortage(tmp_path / "missing") is None
