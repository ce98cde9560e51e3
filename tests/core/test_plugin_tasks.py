"""Tasks of plugins: restarts with pauses, logged failures and cancellation."""

import asyncio
import logging

import pytest
from nanoclaw_untrusted.foreign_code import FIRST_PAUSE_S, LONGEST_PAUSE_S

from nanoclaw_core.tasks import run_forever


class Stopped(BaseException):
    """Ends `run_forever` from outside, as a cancellation does."""


async def run_until_stopped(outcomes: list[Exception | None]) -> tuple[list[float], list[Exception]]:
    """Run a task once per outcome.

    Return the pauses between the runs and the reported failures.
    """
    pauses: list[float] = []
    failures: list[Exception] = []
    remaining = list(outcomes)

    async def part() -> None:
        if not remaining:
            raise Stopped
        outcome = remaining.pop(0)
        if outcome is not None:
            raise outcome

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with pytest.raises(Stopped):
        await run_forever("acme", "part", part, failed=failures.append, sleep=sleep)
    return pauses, failures


def test_failing_task_restarts_with_doubling_pauses() -> None:
    troubles: list[Exception | None] = [ZeroDivisionError(str(number)) for number in range(12)]
    pauses, failures = asyncio.run(run_until_stopped(troubles))
    assert pauses[:5] == [FIRST_PAUSE_S, 2.0, 4.0, 8.0, 16.0]
    assert pauses[-2:] == [LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert failures == troubles


def test_finished_task_is_restarted() -> None:
    assert asyncio.run(run_until_stopped([None, None])) == ([1.0, 2.0], [])


def test_failing_task_is_logged_once_per_failure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        asyncio.run(run_until_stopped([ZeroDivisionError(), ZeroDivisionError()]))
    assert [record.message for record in caplog.records] == ["part failed", "part failed"]


def test_cancelled_task_is_not_restarted() -> None:
    async def scenario() -> int:
        runs = 0
        started = asyncio.Event()

        async def part() -> None:
            nonlocal runs
            runs += 1
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(run_forever("acme", "part", part))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return runs

    assert asyncio.run(scenario()) == 1
