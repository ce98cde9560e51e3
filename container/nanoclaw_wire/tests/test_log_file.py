"""A log file on a full disk prints two lines to stderr and no flood."""

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
    """Create a log file. It reads its clock at each failure."""
    clock = iter(times).__next__
    return LogFile(path, max_bytes=1_000_000, backups=1, delay=True, reminds=reminds, clock=clock)


def write(handler: LogFile, *lines: str) -> None:
    for line in lines:
        handler.emit(logging.makeLogRecord({"msg": line}))


def close(handler: LogFile) -> None:
    with contextlib.suppress(OSError):  # lines that were not written
        handler.close()


def test_log_file_reports_full_disk_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One report when it begins and one when it ends, however many lines fail in between."""
    handler = log_file(tmp_path / "a.log")
    with full_disk():
        write(handler, *["lost"] * 50)
    write(handler, "first", "second")
    handler.close()
    assert capsys.readouterr().err.splitlines() == ["log file cannot be written", "log file can be written again"]
    assert (tmp_path / "a.log").read_text(encoding="utf-8").endswith("first\nsecond\n")


def test_log_file_reminds_every_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator may read the log later."""
    (tmp_path / "a.log").symlink_to("/dev/full")
    handler = log_file(tmp_path / "a.log", times=[0.0, 1.0, 59.0, 60.0, 61.0], reminds=True)
    write(handler, *["lost"] * 5)
    close(handler)
    assert capsys.readouterr().err.splitlines() == ["log file cannot be written"] * 2


def test_log_file_reports_unsteady_disk_once_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A disk with space for every other line makes no flood, either."""
    handler = log_file(tmp_path / "a.log", times=[float(number) for number in range(120)])
    for _ in range(120):
        with full_disk():
            write(handler, "lost")
        write(handler, "written")
    handler.close()
    reports = ["log file cannot be written", "log file can be written again"]
    assert capsys.readouterr().err.splitlines() == reports * 2


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
def test_log_file_reports_path_it_cannot_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    """The program goes on, and a pipe that no process reads does not block it."""
    spoil(tmp_path / "a.log")
    handler = log_file(tmp_path / "a.log")
    write(handler, "one", "two")
    close(handler)
    assert capsys.readouterr().err.splitlines() == ["log file cannot be written"]


def test_log_file_leaves_wrong_call_to_logging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call with a wrong value is a defect of the program, not a fault of the file."""
    handler = log_file(tmp_path / "a.log")
    handler.emit(logging.makeLogRecord({"msg": "%d lines", "args": ("no number",)}))
    handler.close()
    assert "--- Logging error ---" in capsys.readouterr().err
