"""`ncl logs -f`: prints each line once, also if the log is rotated."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_wire.log_file import LogFile
from ncl_process import NCL, WAIT_S


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "sessions" / "ses-0123456789ab" / "out" / "runner.log"
    path.parent.mkdir(parents=True)
    return path


@contextlib.contextmanager
def following(log: Path) -> Iterator[subprocess.Popen[str]]:
    """Follow the log of a session. A lost line ends the process, so that no test waits for ever."""
    command = [*NCL, "--home", str(log.parents[3]), "logs", "-f", "--session", log.parents[1].name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(WAIT_S, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def printed(process: subprocess.Popen[str], count: int) -> list[str]:
    """Return the next lines that the process prints."""
    assert process.stdout is not None
    return [process.stdout.readline().removesuffix("\n") for _ in range(count)]


@contextlib.contextmanager
def stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stop the process inside the `with` block: it sees all changes at once."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    yield
    process.send_signal(signal.SIGCONT)


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_follow_prints_new_lines(log: Path) -> None:
    log.write_text('{"event": "first"}\n')
    with following(log) as process:
        assert printed(process, 1) == ["first"]
        append(log, '{"event": "second"}\n')
        assert printed(process, 1) == ["second"]


@pytest.mark.parametrize(
    ("backups", "rotations"), [(1, 1), (1, 2), (5, 2), (5, 6)], ids=["one", "deleted", "two", "deleted-of-many"]
)
def test_follow_prints_each_line_of_rotated_files(log: Path, backups: int, rotations: int) -> None:
    """Between two polls, the log may be rotated several times, and its followed file may be deleted."""
    file = LogFile(log, max_bytes=1, backups=backups)  # each line is a file
    lines = [f"line {number}" for number in range(rotations + 1)]
    file.handle(logging.makeLogRecord({"msg": lines[0]}))
    with following(log) as process:
        assert printed(process, 1) == lines[:1]
        with stopped(process):
            for line in lines[1:]:
                file.handle(logging.makeLogRecord({"msg": line}))
        assert printed(process, rotations) == lines[1:]
    file.close()


def test_follow_prints_lines_written_before_a_rotation(log: Path) -> None:
    log.write_text("first\n")
    with following(log) as process:
        assert printed(process, 1) == ["first"]
        with stopped(process):
            append(log, "second\n")
            log.rename(f"{log}.1")
            log.write_text("third\n")
        assert printed(process, 2) == ["second", "third"]


def test_follow_of_a_deleted_log_prints_no_older_file(log: Path) -> None:
    Path(f"{log}.1").write_text("much older\n")
    os.utime(f"{log}.1", (1_000_000_000, 1_000_000_000))
    log.write_text("first\n")
    with following(log) as process:
        assert printed(process, 1) == ["first"]
        log.unlink()
        log.write_text("second\n")
        assert printed(process, 1) == ["second"]


def test_follow_prints_a_line_once_it_is_complete(log: Path) -> None:
    """The last line is incomplete at the start."""
    log.write_text('{"event": "first"}\n{"event": "sec')
    with following(log) as process:
        assert printed(process, 1) == ["first"]
        append(log, 'ond"}\n')
        assert printed(process, 1) == ["second"]


def test_follow_prints_the_incomplete_end_of_a_rotated_file(log: Path) -> None:
    log.write_text("first\nhalf")
    with following(log) as process:
        assert printed(process, 1) == ["first"]
        with stopped(process):
            log.rename(f"{log}.1")
            log.write_text("next\n")
        assert printed(process, 2) == ["half", "next"]
