"""Session files: one writer (I1), and hostile files in their place (I6)."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import PROTOCOL, outbound, session_files
from nanoclaw_wire.session_files import NotARegularFile, WrongProtocol
from session_rows import AT, outgoing

BEST_PRACTICE = """
import sys
from pathlib import Path
import apsw.bestpractice
apsw.bestpractice.apply(apsw.bestpractice.recommended)
from nanoclaw_wire import session_files
path = Path(sys.argv[1])
session_files.create_inbound(path)
for db in (session_files.open_writable(path), session_files.open_readable(path)):
    print(db.pragma("journal_mode"))
    db.close()
"""
KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from nanoclaw_wire import session_files
db = session_files.open_writable(Path(sys.argv[1]))
db.pragma("cache_size", 1)
db.execute("BEGIN IMMEDIATE")
for number in range(200):
    db.execute("INSERT INTO session_state VALUES (?, ?, 'x')", (str(number), "v" * 2000))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Create an outbound.db with one message."""
    path = tmp_path / "outbound.db"
    session_files.create_outbound(path)
    db = session_files.open_writable(path)
    outbound.write(db, now=AT, messages=[outgoing("a")])
    db.close()
    return path


@pytest.fixture
def alarm() -> Iterator[None]:
    """End the process by a signal if the test hangs in SQLite, which Python cannot interrupt."""
    signal.alarm(30)
    yield
    signal.alarm(0)


def read(path: Path) -> list[str]:
    db = session_files.open_readable(path, busy_timeout_ms=50)
    try:
        return [message.id for message in outbound.messages_after(db, 0, limit=9)]
    finally:
        db.close()


def journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def make_hot(path: Path) -> None:
    """Leave the file in the state of a runner that was killed during a commit."""
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert journal(path).read_bytes()[:8] == b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"


def test_open_readable_reads_the_file(written: Path) -> None:
    assert read(written) == ["a"]


@pytest.mark.invariant(number=1)
def test_session_files_never_use_wal(tmp_path: Path) -> None:
    """The process applies `apsw.bestpractice`, which prefers WAL."""
    command = [sys.executable, "-c", BEST_PRACTICE, str(tmp_path / "inbound.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "wal" not in done.stdout
    assert (tmp_path / "inbound.db").read_bytes()[18:20] == b"\x01\x01"


def test_create_outbound_keeps_existing_file(written: Path) -> None:
    session_files.create_outbound(written)
    assert read(written) == ["a"]


def test_open_of_other_protocol_is_refused(written: Path) -> None:
    db = apsw.Connection(str(written))
    db.pragma("user_version", PROTOCOL + 1)
    db.close()
    with pytest.raises(WrongProtocol, match=f"protocol {PROTOCOL + 1}"):
        session_files.open_readable(written)
    with pytest.raises(WrongProtocol):
        session_files.open_writable(written)


def test_open_never_creates_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        session_files.open_readable(tmp_path / "outbound.db")
    with pytest.raises(apsw.CantOpenError):
        session_files.open_writable(tmp_path / "outbound.db")
    assert list(tmp_path.iterdir()) == []


def test_open_readable_cannot_write(written: Path) -> None:
    db = session_files.open_readable(written)
    with pytest.raises(apsw.ReadOnlyError):
        db.execute("DELETE FROM messages_out")
    db.close()


def test_read_during_write_is_busy(written: Path) -> None:
    writer = session_files.open_writable(written)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(apsw.BusyError):
        read(written)
    writer.execute("ROLLBACK")
    writer.close()
    assert read(written) == ["a"]


def test_write_during_read_is_busy(written: Path) -> None:
    reader = session_files.open_readable(written)
    rows = reader.execute("SELECT id FROM messages_out")
    next(rows)
    writer = session_files.open_writable(written)
    writer.set_busy_timeout(0)
    with pytest.raises(apsw.BusyError):
        writer.execute("DELETE FROM messages_out")
    rows.close()
    writer.execute("DELETE FROM messages_out")
    reader.close()
    writer.close()
    assert read(written) == []


def test_reader_sees_later_commits(written: Path) -> None:
    reader = session_files.open_readable(written)
    writer = session_files.open_writable(written)
    assert len(outbound.messages_after(reader, 0, limit=9)) == 1
    outbound.write(writer, now=AT, messages=[outgoing("b")])
    assert len(outbound.messages_after(reader, 0, limit=9)) == 2
    reader.close()
    writer.close()


def test_hot_journal_is_rolled_back_by_writer_only(written: Path) -> None:
    make_hot(written)
    with pytest.raises((apsw.ReadOnlyError, apsw.CantOpenError)):
        read(written)
    assert journal(written).stat().st_size > 0
    session_files.open_writable(written).close()
    assert read(written) == ["a"]


def name_in_journal(path: Path, target: Path) -> None:
    """Write a super-journal's name at the end of a journal.

    A rollback by SQLite 3.40 deletes the named file if it is not empty; 3.54 does not.
    """
    name = str(target).encode()
    checksum = sum(name)  # SQLite adds signed characters, and a temporary path has only ASCII ones
    numbers = [number.to_bytes(4, "big") for number in (0x4000_0000 // 4096 + 1, len(name), checksum)]
    with journal(path).open("ab") as file:
        file.write(numbers[0] + name + numbers[1] + numbers[2] + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")


def test_forged_journal_deletes_no_file(written: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    make_hot(written)
    name_in_journal(written, target)
    with pytest.raises((apsw.ReadOnlyError, apsw.CantOpenError)):
        read(written)
    assert target.exists()


@pytest.mark.defect(number=29)
def test_open_readable_refuses_link(written: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(written)
    with pytest.raises(NotARegularFile):
        read(link)


@pytest.mark.defect(number=29)
def test_open_readable_refuses_second_name(written: Path, tmp_path: Path) -> None:
    os.link(written, tmp_path / "second.db")
    with pytest.raises(NotARegularFile):
        read(written)


@pytest.mark.usefixtures("alarm")
@pytest.mark.defect(number=29)
def test_open_readable_refuses_special_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("pipe", "directory", "socket"):
            with pytest.raises(NotARegularFile):
                read(tmp_path / name)


@pytest.mark.usefixtures("alarm")
@pytest.mark.defect(number=29)
def test_pipe_as_journal_does_not_block_open(written: Path) -> None:
    journal(written).unlink(missing_ok=True)
    os.mkfifo(journal(written))
    with pytest.raises(apsw.CantOpenError):
        read(written)


@pytest.mark.usefixtures("alarm")
@pytest.mark.defect(number=29)
def test_pipe_as_later_journal_does_not_block_read(written: Path) -> None:
    db = session_files.open_readable(written)
    journal(written).unlink(missing_ok=True)
    os.mkfifo(journal(written))
    with pytest.raises(apsw.CantOpenError):
        outbound.messages_after(db, 0, limit=9)
    db.close()


@pytest.mark.defect(number=29)
def test_link_as_journal_is_not_followed(written: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("confidential")
    journal(written).unlink(missing_ok=True)
    journal(written).symlink_to(secret)
    with pytest.raises(apsw.CantOpenError):
        read(written)


@pytest.mark.invariant(number=1)
def test_open_readable_refuses_wal_file(written: Path) -> None:
    """A WAL header makes SQLite map shared memory."""
    db = apsw.Connection(str(written))
    assert db.pragma("journal_mode", "wal") == "wal"
    db.close()
    with pytest.raises(apsw.CantOpenError):
        read(written)
    assert not written.with_name("outbound.db-shm").exists()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_open_readable_refuses_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "outbound.db"
    path.write_bytes(content)
    with pytest.raises((apsw.Error, WrongProtocol)):
        read(path)


def test_view_instead_of_table_is_refused(written: Path) -> None:
    db = apsw.Connection(str(written))
    columns = "seq, id, kind, at, deliver_after, in_reply_to, channel, room, thread, content"
    db.execute(f"ALTER TABLE messages_out RENAME TO hidden; CREATE VIEW messages_out AS SELECT {columns} FROM hidden")
    db.close()
    with pytest.raises(apsw.SQLError, match="access to view"):
        read(written)


def test_file_cut_while_open_raises(written: Path) -> None:
    db = session_files.open_readable(written)
    os.truncate(written, 5000)
    with pytest.raises(apsw.Error):
        outbound.messages_after(db, 0, limit=9)
    db.close()
