"""Log lines about a central database that refuses writes: a few for the whole host."""

import logging

import pytest
from nanoclaw_untrusted.database_outage import LOG_REPEAT_S, DatabaseOutage

REFUSES, WORKS = "central database refuses writes", "central database accepts writes again"
FULL = OSError("database or disk is full")


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> DatabaseOutage:
    return DatabaseOutage(now=clock)


def refuse(outage: DatabaseOutage, times: int = 1) -> None:
    for _ in range(times):
        outage.note_refusal("record deliveries", FULL, again_in_s=5.0)


def test_outage_logs_one_line_at_start_and_end(outage: DatabaseOutage, caplog: pytest.LogCaptureFixture) -> None:
    """100 refusals and 100 successes share two lines."""
    refuse(outage, 100)
    for _ in range(100):
        outage.note_success()
    assert caplog.messages == [REFUSES, WORKS]
    begin, end = caplog.records
    assert (begin.levelno, begin.work, begin.error) == (logging.ERROR, "record deliveries", str(FULL))  # type: ignore[attr-defined]
    assert end.refused == 100  # type: ignore[attr-defined]


def test_long_outage_logs_one_line_a_minute(
    outage: DatabaseOutage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator who opens the log later still sees the outage."""
    for _ in range(10):
        refuse(outage, 100)
        clock.now_s += LOG_REPEAT_S / 2
    assert caplog.messages == [REFUSES] * 5


def test_repeated_outages_share_their_lines(
    outage: DatabaseOutage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk at its limit accepts one write and refuses the next."""
    for _ in range(100):
        refuse(outage)
        outage.note_success()
    clock.now_s += LOG_REPEAT_S
    refuse(outage)
    assert caplog.messages == [REFUSES, WORKS, REFUSES]


def test_working_database_logs_no_line(outage: DatabaseOutage, caplog: pytest.LogCaptureFixture) -> None:
    """Without a refusal, a success is not logged."""
    outage.note_success()
    assert caplog.messages == []
