"""A log file on a full disk: a line or two on stderr, and no flood."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from machine_faults import full_disk
from nanoclaw_wire.log_file import LogFile


def log_file(path: Path, *, times: Iterable[float] = (0.0,) * 50, reminds: bool = False) -> LogFile:
    """Make a log file. Its clock is read at each failure."""
    clock = iter(times).__next__
    return LogFile(path, max_bytes=1_000_000, backups=1, delay=True, reminds=reminds, clock=clock)


def write(handler: LogFile, *lines: str) -> None:
    for line in lines:
        handler.emit(logging.makeLogRecord({"msg": line}))


def close(handler: LogFile) -> None:
    with contextlib.suppress(OSError):  # lines that were not written
        handler.close()


def test_full_disk_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said when it begins and when it ends, however many lines come in between."""
    handler = log_file(tmp_path / "a.log")
    with full_disk():
        write(handler, *["lost"] * 50)
    write(handler, "first", "second")
    handler.close()
    assert capsys.readouterr().err.splitlines() == ["log file cannot be written", "log file can be written again"]
    assert (tmp_path / "a.log").read_text(encoding="utf-8").endswith("first\nsecond\n")


def test_full_disk_is_said_again_after_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that reminds says it again, for an operator who looks later."""
    (tmp_path / "a.log").symlink_to("/dev/full")
    handler = log_file(tmp_path / "a.log", times=[0.0, 1.0, 59.0, 60.0, 61.0], reminds=True)
    write(handler, *["lost"] * 5)
    close(handler)
    assert capsys.readouterr().err.splitlines() == ["log file cannot be written"] * 2


def test_disk_full_by_turns_is_no_flood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A disk that has room for every other line is said once in a minute, too."""
    handler = log_file(tmp_path / "a.log", times=[float(number) for number in range(120)])
    for _ in range(120):
        with full_disk():
            write(handler, "lost")
        write(handler, "written")
    handler.close()
    said = ["log file cannot be written", "log file can be written again"]
    assert capsys.readouterr().err.splitlines() == said * 2


@pytest.mark.parametrize(
    "spoil",
    [
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("/proc/nowhere/a.log"),
        lambda path: path.symlink_to("/dev/full"),
    ],
    ids=["directory", "pipe", "loop", "nowhere", "full"],
)
def test_path_that_cannot_be_opened_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    """The program goes on; a pipe that no process reads does not hold it up."""
    spoil(tmp_path / "a.log")
    handler = log_file(tmp_path / "a.log")
    write(handler, "one", "two")
    close(handler)
    assert capsys.readouterr().err.splitlines() == ["log file cannot be written"]


def test_wrong_call_is_reported_as_logging_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call with a missing value is a defect of ours, and no fault of the file."""
    handler = log_file(tmp_path / "a.log")
    handler.emit(logging.makeLogRecord({"msg": "%d lines", "args": ("no number",)}))
    handler.close()
    assert "--- Logging error ---" in capsys.readouterr().err
