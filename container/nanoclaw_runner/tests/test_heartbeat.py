"""The file whose time tells the host that the runner is alive."""

from datetime import UTC, datetime

from nanoclaw_runner.heartbeat import Heartbeat
from nanoclaw_wire import clock


def test_touch_after_a_claim_is_not_older_than_it(tmp_path):
    """The kernel's time for files is a tick old: a beat seemed to be older than the claim a moment before it."""
    older = 0
    for number in range(200):
        path = tmp_path / str(number)  # a file whose time was never read; a recent kernel stamps others exactly
        path.touch()
        claimed_at = clock.from_text(clock.now_text())
        Heartbeat(path).touch()
        older += datetime.fromtimestamp(path.stat().st_mtime, UTC) < claimed_at
    assert older == 0


def test_touch_missing_file_creates_it(tmp_path):
    """The first beat of a session creates the file, with the clock's time like every other."""
    before = clock.from_text(clock.now_text())
    Heartbeat(tmp_path / "heartbeat").touch()
    assert datetime.fromtimestamp((tmp_path / "heartbeat").stat().st_mtime, UTC) >= before
