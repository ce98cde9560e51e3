"""The outbox poller: order and cost of polls among many sessions, and limits per session (I6)."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import pytest
from delivery_doubles import QuietEvents, context_of
from nanoclaw_untrusted.database_outage import DatabaseOutage
from nanoclaw_wire.content import ActionRequest

from nanoclaw_core.delivery.outbox_importer import ImportResult
from nanoclaw_core.delivery.outbox_poller import (
    COOLDOWN_FACTOR,
    FREE_EMPTY_POLLS,
    MAX_BACKLOG,
    MAX_RUNNING_REQUESTS,
    SLOW_POLL_CPU_S,
    OutboxPoller,
)
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import ROW_BATCH
from nanoclaw_core.store.connection import CentralDatabaseFailed
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.timing import Timing

TIMING = Timing()
HONEST = SessionId("honest")
FLOODERS = [SessionId(f"flooder-{number}") for number in range(5)]
REQUEST = ActionRequest(action="x", request_id="r")
MORE_ROWS = ImportResult(refused=["no"], has_more=True)


class ScriptedImporter:
    """An importer that returns the results of the test and records the order of the polls."""

    def __init__(self, results: Mapping[SessionId, Callable[[], ImportResult]]) -> None:
        self._results = results
        self.polls: list[str] = []
        self.at: list[float] = []

    def has_polls(self, count: int) -> bool:
        return len(self.polls) >= count

    def import_next(self, session_id: SessionId) -> ImportResult:
        self.polls.append(session_id)
        self.at.append(asyncio.get_running_loop().time())
        return self._results[session_id]()


@asynccontextmanager
async def poller_over(
    importer: ScriptedImporter, instance: Instance, events: QuietEvents | None = None, timing: Timing = TIMING
) -> AsyncIterator[OutboxPoller]:
    events = events or QuietEvents()
    queues = DeliveryQueues(context_of(instance, {}, events=events))
    poller = OutboxPoller(importer, queues, events, DatabaseOutage(), timing)  # type: ignore[arg-type]  # a double of it
    yield poller
    for session_id in (HONEST, *FLOODERS):
        poller.forget(session_id)
    await poller.close()


@asynccontextmanager
async def turns_of_the_loop(importer: ScriptedImporter) -> AsyncIterator[None]:
    """Record each turn of the event loop between the polls."""

    async def note() -> None:
        while True:
            importer.polls.append("turn")
            await asyncio.sleep(0)

    noting = asyncio.create_task(note())
    yield
    noting.cancel()


@contextmanager
def busy(cpu_s: float) -> Iterator[None]:
    until_s = time.thread_time() + cpu_s
    yield
    while time.thread_time() < until_s:
        pass


@pytest.mark.invariant(number=6)
def test_event_loop_turns_between_two_polls(instance: Instance) -> None:
    importer = ScriptedImporter({session_id: lambda: MORE_ROWS for session_id in FLOODERS})

    async def scenario() -> None:
        async with poller_over(importer, instance) as poller, turns_of_the_loop(importer):
            for session_id in FLOODERS:
                poller.notify(session_id)
            await until(lambda: sum(poll != "turn" for poll in importer.polls) > 100)

    asyncio.run(scenario())
    assert all("turn" in pair for pair in zip(importer.polls, importer.polls[1:], strict=False))


@pytest.mark.invariant(number=6)
def test_notified_session_is_polled_before_repeated_ones(instance: Instance) -> None:
    notified_at: list[int] = []

    async def scenario() -> None:
        async with poller_over(importer, instance) as poller:
            for session_id in FLOODERS:
                poller.notify(session_id)
            for number in range(20):
                await until(partial(importer.has_polls, (number + 1) * len(FLOODERS)))
                notified_at.append(len(importer.polls))
                poller.notify(HONEST)
                await until(lambda: HONEST in importer.polls[notified_at[-1] :])

    def honest() -> ImportResult:
        return ImportResult(refused=["an answer"])

    importer = ScriptedImporter({session_id: lambda: MORE_ROWS for session_id in FLOODERS} | {HONEST: honest})
    asyncio.run(scenario())
    for start in notified_at:
        meanwhile = importer.polls[start : importer.polls.index(HONEST, start)]
        assert len(meanwhile) <= 2 * len(FLOODERS), meanwhile


@pytest.mark.invariant(number=6)
def test_empty_notifications_are_polled_less_often(instance: Instance) -> None:
    importer = ScriptedImporter({HONEST: ImportResult})

    async def scenario() -> None:
        async with poller_over(importer, instance) as poller:
            for _ in range(20_000):
                poller.notify(HONEST)
                await asyncio.sleep(0)

    asyncio.run(scenario())
    assert len(importer.polls) <= FREE_EMPTY_POLLS + 2 + (importer.at[-1] - importer.at[0]) / TIMING.empty_poll_pause_s


@pytest.mark.invariant(number=6)
def test_slow_poll_is_followed_by_a_longer_cooldown(instance: Instance) -> None:
    cost_s = 2 * SLOW_POLL_CPU_S

    def costly() -> ImportResult:
        with busy(cost_s):
            return MORE_ROWS

    importer = ScriptedImporter({HONEST: costly})

    async def scenario() -> None:
        async with poller_over(importer, instance) as poller:
            poller.notify(HONEST)
            await until(partial(importer.has_polls, 4))

    asyncio.run(scenario())
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(importer.at)]
    assert min(pauses_s) >= (1 + COOLDOWN_FACTOR) * cost_s


@pytest.mark.invariant(number=6)
def test_poller_limits_unfinished_requests(instance: Instance) -> None:
    importer = ScriptedImporter({HONEST: lambda: ImportResult(requests=[REQUEST] * ROW_BATCH, has_more=True)})

    async def scenario() -> None:
        finish = asyncio.Event()

        class Slow(QuietEvents):
            async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None:
                await finish.wait()

        poll_count = MAX_BACKLOG // ROW_BATCH
        async with poller_over(importer, instance, Slow()) as poller:
            poller.notify(HONEST)
            await until(partial(importer.has_polls, poll_count))
            for _ in range(100):
                assert poller.poll(HONEST)
            assert len(importer.polls) == poll_count
            finish.set()
            await until(partial(importer.has_polls, poll_count + 1))

    asyncio.run(scenario())


@pytest.mark.invariant(number=6)
def test_event_loop_turns_between_requests(instance: Instance) -> None:
    """Requests that never wait leave the event loop to others after a few of them."""
    importer = ScriptedImporter({HONEST: lambda: ImportResult(requests=[REQUEST] * ROW_BATCH)})

    class Quick(QuietEvents):
        async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None:
            importer.polls.append("request")

    async def scenario() -> None:
        async with poller_over(importer, instance, Quick()) as poller, turns_of_the_loop(importer):
            assert poller.poll(HONEST)
            await until(lambda: importer.polls.count("request") == ROW_BATCH)

    asyncio.run(scenario())
    runs = [len(list(run)) for what, run in itertools.groupby(importer.polls) if what == "request"]
    assert max(runs) <= 2 * MAX_RUNNING_REQUESTS


def test_close_leaves_an_action_that_does_not_end(instance: Instance) -> None:
    """A plugin that swallows the cancellation of its action must not keep the host from its stop."""
    importer = ScriptedImporter({HONEST: lambda: ImportResult(requests=[REQUEST])})

    async def scenario() -> None:
        runs, may_end = asyncio.Event(), asyncio.Event()

        class Swallowing(QuietEvents):
            async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None:
                runs.set()
                while not may_end.is_set():
                    with suppress(asyncio.CancelledError):
                        await may_end.wait()

        timing = Timing(actions_close_s=0.01, cancel_s=0.01)
        try:
            async with asyncio.timeout(WAIT_S), poller_over(importer, instance, Swallowing(), timing) as poller:
                poller.poll(HONEST)
                await runs.wait()
        finally:
            may_end.set()

    asyncio.run(scenario())


def refuse() -> ImportResult:
    raise CentralDatabaseFailed("the disk is full")


def test_drain_during_stop_ends_at_once_on_a_full_disk(instance: Instance) -> None:
    """A central database that refuses writes must not delay the stop.

    The next host imports the rest.
    """
    importer = ScriptedImporter({HONEST: refuse})

    async def scenario() -> None:
        async with poller_over(importer, instance) as poller, asyncio.timeout(WAIT_S):
            draining = asyncio.create_task(poller.drain(HONEST))
            await until(partial(importer.has_polls, 1))
            poller.stop_waiting()
            assert not await draining
            assert not await poller.drain(HONEST)

    asyncio.run(scenario())
    assert len(importer.polls) <= 3  # two polls of the first drain, one of the second


def test_drain_during_stop_imports_all_rows(instance: Instance) -> None:
    """A host with a working database imports all rows before it stops."""
    results = [ImportResult(finished=frozenset()), *[MORE_ROWS] * 5]
    importer = ScriptedImporter({HONEST: results.pop})

    async def scenario() -> None:
        async with poller_over(importer, instance) as poller, asyncio.timeout(WAIT_S):
            poller.stop_waiting()
            assert await poller.drain(HONEST)

    asyncio.run(scenario())
    assert results == []


def test_refused_import_logs_one_line_for_all_sessions(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """Each session is polled again every few seconds, but the log has one line about the database."""
    is_full = True

    def import_next() -> ImportResult:
        return refuse() if is_full else ImportResult(refused=["no"])

    async def scenario() -> None:
        nonlocal is_full
        async with poller_over(ScriptedImporter(dict.fromkeys(FLOODERS, import_next)), instance) as poller:
            for session_id in FLOODERS:
                assert poller.poll(session_id)
            is_full = False
            for session_id in FLOODERS:
                assert poller.poll(session_id)

    asyncio.run(scenario())
    assert caplog.messages == ["central database refuses writes", "central database accepts writes again"]
