"""The poller among many sessions: whose file is looked into when, and how much of one is taken on (I6)."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest
from delivery_doubles import KeyBuilder, QuietEvents
from nanoclaw_wire.content import ActionRequest

from nanoclaw_core.delivery.attempts import DeliveryContext
from nanoclaw_core.delivery.outbox_importer import ImportResult
from nanoclaw_core.delivery.outbox_poller import (
    COOLDOWN_FACTOR,
    FREE_EMPTY_POLLS,
    MAX_BACKLOG,
    PAUSE_S,
    SLOW_POLL_CPU_S,
    OutboxPoller,
)
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import ROW_BATCH
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store.connection import CentralDatabaseFailed
from nanoclaw_core.store.outage import DatabaseOutage
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S

HONEST = SessionId("honest")
FLOODERS = [SessionId(f"flooder-{number}") for number in range(5)]
REQUEST = ActionRequest(action="x", request_id="r")
MUCH = ImportResult(refused=["no"], has_more=True)


class Files:
    """Sessions in whose files a look finds what the test says, noted in the order of the looks."""

    def __init__(self, finds: Mapping[SessionId, Callable[[], ImportResult]]) -> None:
        self._finds = finds
        self.seen: list[str] = []
        self.at: list[float] = []

    def are_seen(self, count: int) -> bool:
        return len(self.seen) >= count

    def import_next(self, session_id: SessionId) -> ImportResult:
        self.seen.append(session_id)
        self.at.append(asyncio.get_running_loop().time())
        return self._finds[session_id]()


@asynccontextmanager
async def poller_over(
    files: Files, instance: Instance, events: QuietEvents | None = None
) -> AsyncIterator[OutboxPoller]:
    events = events or QuietEvents()
    sending = DeliveryContext(
        db=instance.db,
        plugins=Plugins(),
        adapters={},
        builder=KeyBuilder(),  # type: ignore[arg-type]  # the queues only build with it
        events=events,
        pauses_s=(),
        max_age_s=0.0,
    )
    poller = OutboxPoller(files, DeliveryQueues(sending), events, DatabaseOutage())  # type: ignore[arg-type]  # it is only looked through
    yield poller
    for one in (HONEST, *FLOODERS):
        poller.forget(one)
    await poller.close()


@asynccontextmanager
async def turns_of_the_loop(files: Files) -> AsyncIterator[None]:
    """Note every turn of the event loop between the looks."""

    async def note() -> None:
        while True:
            files.seen.append("turn")
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
    files = Files({one: lambda: MUCH for one in FLOODERS})

    async def scenario() -> None:
        async with poller_over(files, instance) as poller, turns_of_the_loop(files):
            for one in FLOODERS:
                poller.notify(one)
            await until(lambda: sum(one != "turn" for one in files.seen) > 100)

    asyncio.run(scenario())
    assert all("turn" in pair for pair in zip(files.seen, files.seen[1:], strict=False))


@pytest.mark.invariant(number=6)
def test_notified_session_is_polled_before_repeated_ones(instance: Instance) -> None:
    rung: list[int] = []

    async def scenario() -> None:
        async with poller_over(files, instance) as poller:
            for one in FLOODERS:
                poller.notify(one)
            for number in range(20):
                await until(partial(files.are_seen, (number + 1) * len(FLOODERS)))
                rung.append(len(files.seen))
                poller.notify(HONEST)
                await until(lambda: HONEST in files.seen[rung[-1] :])

    def honest() -> ImportResult:
        return ImportResult(refused=["an answer"])

    files = Files({one: lambda: MUCH for one in FLOODERS} | {HONEST: honest})
    asyncio.run(scenario())
    for start in rung:
        meanwhile = files.seen[start : files.seen.index(HONEST, start)]
        assert len(meanwhile) <= 2 * len(FLOODERS), meanwhile


@pytest.mark.invariant(number=6)
def test_empty_notifications_are_polled_less_often(instance: Instance) -> None:
    files = Files({HONEST: ImportResult})

    async def scenario() -> None:
        async with poller_over(files, instance) as poller:
            for _ in range(20_000):
                poller.notify(HONEST)
                await asyncio.sleep(0)

    asyncio.run(scenario())
    assert len(files.seen) <= FREE_EMPTY_POLLS + 2 + (files.at[-1] - files.at[0]) / PAUSE_S


@pytest.mark.invariant(number=6)
def test_slow_poll_is_followed_by_a_longer_cooldown(instance: Instance) -> None:
    cost_s = 2 * SLOW_POLL_CPU_S

    def costly() -> ImportResult:
        with busy(cost_s):
            return MUCH

    files = Files({HONEST: costly})

    async def scenario() -> None:
        async with poller_over(files, instance) as poller:
            poller.notify(HONEST)
            await until(partial(files.are_seen, 4))

    asyncio.run(scenario())
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(files.at)]
    assert min(pauses_s) >= (1 + COOLDOWN_FACTOR) * cost_s


@pytest.mark.invariant(number=6)
def test_poller_limits_unfinished_requests(instance: Instance) -> None:
    files = Files({HONEST: lambda: ImportResult(requests=[REQUEST] * ROW_BATCH, has_more=True)})

    async def scenario() -> None:
        finish = asyncio.Event()

        class Slow(QuietEvents):
            async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None:
                await finish.wait()

        looks = MAX_BACKLOG // ROW_BATCH
        async with poller_over(files, instance, Slow()) as poller:
            poller.notify(HONEST)
            await until(partial(files.are_seen, looks))
            for _ in range(100):
                assert poller.poll(HONEST)
            assert len(files.seen) == looks
            finish.set()
            await until(partial(files.are_seen, looks + 1))

    asyncio.run(scenario())


def refuse() -> ImportResult:
    raise CentralDatabaseFailed("the disk is full")


def test_drain_during_stop_ends_at_once_on_a_full_disk(instance: Instance) -> None:
    """A central database that takes nothing must not hold up the stop; the next host imports the rest."""
    files = Files({HONEST: refuse})

    async def scenario() -> None:
        async with poller_over(files, instance) as poller, asyncio.timeout(WAIT_S):
            draining = asyncio.create_task(poller.drain(HONEST))
            await until(partial(files.are_seen, 1))
            poller.stop_waiting()
            assert not await draining
            assert not await poller.drain(HONEST)

    asyncio.run(scenario())
    assert len(files.seen) <= 3  # one for the first wait, one more before it ends, one for the second


def test_drain_during_stop_imports_all_rows(instance: Instance) -> None:
    """A database that works is no reason to leave messages behind."""
    found = [ImportResult(is_idle=True), *[MUCH] * 5]
    files = Files({HONEST: found.pop})

    async def scenario() -> None:
        async with poller_over(files, instance) as poller, asyncio.timeout(WAIT_S):
            poller.stop_waiting()
            assert await poller.drain(HONEST)

    asyncio.run(scenario())
    assert found == []


def test_refused_import_logs_one_line_for_all_sessions(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """Each session is looked at again every few seconds, and the log says once that the database refuses."""
    is_full = True

    def look() -> ImportResult:
        return refuse() if is_full else ImportResult(refused=["no"])

    async def scenario() -> None:
        nonlocal is_full
        async with poller_over(Files(dict.fromkeys(FLOODERS, look)), instance) as poller:
            for one in FLOODERS:
                assert poller.poll(one)
            is_full = False
            for one in FLOODERS:
                assert poller.poll(one)

    asyncio.run(scenario())
    assert caplog.messages == ["central database refuses writes", "central database takes writes again"]
