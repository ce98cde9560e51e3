"""The budget of log lines: per session, per logger, and per minute."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import define, field
from nanoclaw_wire.log_budget import ERROR_LINES, HOST_FACTOR, LINES, MINUTE_S, BudgetedHandler

LEFT_OUT = "log lines left out"


class Collector(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@define
class Log:
    """A budgeted handler, its clock, and the records that passed."""

    now: float = 0.0
    context: Mapping[str, object] = {}
    passed: Collector = field(factory=Collector)
    handler: BudgetedHandler = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.handler = BudgetedHandler([self.passed], lambda: self.context, max_sources=10, clock=lambda: self.now)

    def write(
        self, count: int = 1, *, name: str = "nanoclaw.test", level: int = logging.INFO, **values: object
    ) -> None:
        for _ in range(count):
            fields = {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": "line"}
            self.handler.handle(logging.makeLogRecord(fields | values))

    def count(self, **values: object) -> int:
        """Return the number of lines with these values that passed."""
        return sum(
            record.msg == "line" and all(getattr(record, key, None) == value for key, value in values.items())
            for record in self.passed.records
        )

    def reports(self) -> list[tuple[str, int]]:
        """Return the sources and numbers of the reports."""
        records = [vars(record) for record in self.passed.records if record.msg == LEFT_OUT]
        return [(record.get("session") or record["source"], record["count"]) for record in records]


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    yield made
    made.handler.close()


def test_lines_of_a_session_are_limited(log: Log) -> None:
    log.write(10_000, session="a")
    log.write(session="b")
    assert (log.count(session="a"), log.count(session="b")) == (LINES, 1)


def test_session_of_the_context_counts(log: Log) -> None:
    log.context = {"session": "a"}
    log.write(10_000)
    log.write(session="b")
    assert (log.count(), log.count(session="b")) == (LINES + 1, 1)


def test_session_with_all_its_loggers_has_one_budget(log: Log) -> None:
    for number in range(100):
        log.write(name=f"nanoclaw.part{number}", session="a")
    assert log.count() == LINES


def test_warnings_of_a_session_hide_no_error(log: Log) -> None:
    log.write(10_000, session="a", level=logging.WARNING)
    log.write(session="a", level=logging.ERROR)
    assert log.count(levelno=logging.ERROR) == 1


def test_errors_of_a_session_are_limited(log: Log) -> None:
    log.write(10_000, session="a", level=logging.ERROR)
    log.write(10_000, session="a")
    assert log.count() == LINES + ERROR_LINES


def test_lines_of_a_library_are_limited(log: Log) -> None:
    log.write(10_000, name="aiohttp.server", level=logging.ERROR)
    log.write(name="asyncio")
    log.write()
    assert log.count(name="aiohttp.server") == LINES + ERROR_LINES
    assert log.count() == LINES + ERROR_LINES + 2


def test_lines_of_the_host_have_a_wide_limit(log: Log) -> None:
    log.write(10_000)
    log.write(10_000, name="nanoclaw_core.router")
    assert log.count() == 2 * LINES * HOST_FACTOR


def test_debug_lines_of_a_session_leave_room_for_others(log: Log) -> None:
    log.write(10_000, session="a", level=logging.DEBUG)
    log.write(session="a")
    assert (log.count(), log.count(levelno=logging.INFO)) == (LINES * HOST_FACTOR + 1, 1)


def test_report_follows_after_a_minute(log: Log) -> None:
    log.write(LINES + 3, session="a")
    log.now = MINUTE_S - 0.1
    log.write(session="b")
    assert log.reports() == []
    log.now = MINUTE_S
    log.write(session="b")
    assert log.reports() == [("a", 3)]


def test_report_is_one_line_a_minute(log: Log) -> None:
    for second in range(601):
        log.now = float(second)
        log.write(10, session="a")
    log.handler.close()
    assert len(log.reports()) == 10
    assert log.count() == 11 * LINES
    assert log.count() + sum(count for _, count in log.reports()) == 6_010


def test_report_when_the_handler_closes(log: Log) -> None:
    log.write(LINES + 3, session="a")
    log.write(LINES + ERROR_LINES + 1, name="asyncio", level=logging.ERROR)
    log.handler.close()
    assert log.reports() == [("a", 3), ("asyncio", 1)]


@pytest.mark.parametrize(
    ("level", "reported"), [(logging.INFO, "WARNING"), (logging.ERROR, "ERROR"), (logging.CRITICAL, "CRITICAL")]
)
def test_report_has_the_highest_level(log: Log, level: int, reported: str) -> None:
    log.write(LINES + ERROR_LINES + 1, session="a", level=level)
    log.write(session="a", level=logging.DEBUG)
    log.handler.close()
    assert log.passed.records[-1].levelname == reported


def test_handlers_get_only_lines_of_their_level() -> None:
    passed = Collector()
    passed.setLevel(logging.ERROR)
    log = Log(passed=passed)
    log.write()
    log.write(level=logging.ERROR)
    assert [record.levelno for record in passed.records] == [logging.ERROR]


def test_memory_for_sources_is_bounded(log: Log) -> None:
    """More sessions than the handler can count exceed their budgets. It reports the oldest before its minute ends."""
    for number in range(15):
        log.write(LINES + 1, session=f"ses-{number}")
    assert log.reports() == [(f"ses-{number}", 1) for number in range(5)]
    log.handler.close()
    assert len(log.reports()) == 15


@pytest.mark.parametrize("session", [None, "", 7, ["a"]])
def test_value_that_is_no_session_counts_for_the_logger(log: Log, session: object) -> None:
    log.write(10_000, name="asyncio", session=session)
    assert log.count() == LINES


def test_handlers_close_with_the_budget(tmp_path: Path) -> None:
    file = logging.FileHandler(tmp_path / "a.log")
    BudgetedHandler([file], dict).close()
    assert file.stream is None
