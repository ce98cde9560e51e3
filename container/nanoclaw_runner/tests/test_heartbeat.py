"""Tests of the heartbeat file."""

from datetime import UTC, datetime

from nanoclaw_runner.heartbeat import Heartbeat
from nanoclaw_wire import clock


def test_touch_after_a_claim_is_not_older_than_it(tmp_path):
    """The kernel's file time is up to a tick old, so a touch could seem older than the claim before it."""
    older = 0
    for number in range(200):
        path = tmp_path / str(number)  # a new file: a recent kernel stamps files exactly after their time was read
        path.touch()
        claimed_at = clock.from_text(clock.now_text())
        Heartbeat(path).touch()
        older += datetime.fromtimestamp(path.stat().st_mtime, UTC) < claimed_at
    assert older == 0


def test_touch_missing_file_creates_it(tmp_path):
    """The first touch creates the file, with the clock's time like every other."""
    before = clock.from_text(clock.now_text())
    Heartbeat(tmp_path / "heartbeat").touch()
    assert datetime.fromtimestamp((tmp_path / "heartbeat").stat().st_mtime, UTC) >= before
