"""Calls of a plugin that fail or hang while the host works.

Only the caller of the plugin waits or gets an error.
"""

import asyncio
from collections.abc import Iterable

import pytest
from plugin_faults import ASYNC, SYNC, Fault, FaultyAdapter, Hooks, as_coroutine, gateway_at, hangs, returns_wrong_type

from nanoclaw_core import (
    Access,
    Action,
    Address,
    Admission,
    Channel,
    NanoclawError,
    Outbound,
    Receive,
    Verb,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime
from nanoclaw_core.timing import Timing


@pytest.mark.parametrize("fault", ASYNC)
def test_gateway_that_fails_to_close_blocks_no_sandbox(
    instance: Instance, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Hooks("nanoclaw_services", lambda: [gateway_at("close_endpoint")(fault)])

    async def answers_once(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), "answered")
        return 0

    async def scenario() -> None:
        runtime = ScriptedRuntime(answers_once)
        async with running_host(instance, runtime=runtime, faulty=gateway) as running:
            for number in range(2):
                await running.channel.say("hi")
                await running.channel.texts(number + 1)

    asyncio.run(scenario())
    assert "sandbox could not be started" not in [record.message for record in caplog.records]
    assert "gateway endpoint could not be closed" in [record.message for record in caplog.records]


@pytest.mark.invariant(number=8)
@pytest.mark.parametrize("fault", [*SYNC, returns_wrong_type])
def test_faulty_vote_denies_and_the_host_continues(instance: Instance, fault: Fault) -> None:
    is_faulty = True

    class Votes:
        @hookimpl
        def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
            assert admission
            return fault() if is_faulty else None  # type: ignore[no-any-return]

    async def scenario() -> tuple[str, list[str]]:
        nonlocal is_faulty
        async with running_host(instance, faulty=Votes()) as running:
            receipt = await running.channel.say("one")
            is_faulty = False
            await running.channel.say("two")
            return receipt.outcome.value, await running.channel.texts(1)

    assert asyncio.run(scenario()) == ("dropped", ["echo: two"])


@pytest.mark.parametrize("fault", ASYNC)
def test_faulty_delivery_delays_only_its_own_channel(instance: Instance, fault: Fault) -> None:
    class Admits:
        @hookimpl
        def nanoclaw_channels(self) -> Iterable[Channel]:
            yield Channel(name="faulty", connect=lambda *_: adapter)

        @hookimpl
        def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
            return Verdict(Vote.ALLOW, "a test") if admission.address.channel == "faulty" else None

    adapter = FaultyAdapter(fault, "deliver")
    instance.wire(room="theirs", channel="faulty", folder="other")

    async def scenario() -> list[str]:
        async with running_host(instance, faulty=Admits()) as running:
            await until(adapter.was_called.is_set)
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


class FaultyHints(RecorderChannel):
    """A channel that has a fault when it shows people a hint.

    `called` has the names of the calls.
    """

    def __init__(self, fault: Fault, stage: str) -> None:
        super().__init__()
        self._run, self._stage = as_coroutine(fault), stage
        self.called: set[str] = set()

    async def show_typing(self, _address: Address) -> None:
        await self._call("show_typing")

    async def show_status(self, _address: Address, _text: str) -> None:
        await self._call("show_status")

    async def _call(self, stage: str) -> None:
        self.called.add(stage)
        if stage == self._stage:
            await self._run()


@pytest.mark.parametrize("stage", ["show_typing", "show_status"])
@pytest.mark.parametrize("fault", ASYNC)
def test_faulty_hint_stops_no_answer(instance: Instance, fault: Fault, stage: str) -> None:
    """A hint to people that fails or hangs is dropped: its room gets its answers and the other hint."""
    channel = FaultyHints(fault, stage)

    async def scenario() -> list[str]:
        timing = Timing(status_timeout_s=0.05)  # a hanging status delays its room for this time
        async with running_host(instance, channel=channel, timing=timing) as running:
            for number in range(2):
                await running.channel.say("hi")
                await running.channel.texts(number + 1)
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hi"] * 2
    assert channel.called == {"show_typing", "show_status"}


@pytest.mark.parametrize("fault", ASYNC)
def test_faulty_verb_leaves_the_host_running(instance: Instance, fault: Fault) -> None:
    """The caller of a verb that raises gets an error.

    The caller of a verb that hangs waits alone.
    """

    class Offers:
        @hookimpl
        def nanoclaw_verbs(self) -> Iterable[Verb]:
            yield Verb(resource="fault", name="make", access=Access.ALLOWED, run=as_coroutine(fault))

        @hookimpl
        def nanoclaw_actions(self) -> Iterable[Action]:
            yield Action(name="fault", access=Access.ALLOWED, run=as_coroutine(fault))

    async def scenario() -> list[str]:
        async with running_host(instance, faulty=Offers()) as running:
            request = asyncio.create_task(send_verb(instance))
            if fault is not hangs:
                assert b'"handler-error"' in await request
            await running.channel.say("hi")
            texts = await running.channel.texts(1)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            return texts

    assert asyncio.run(scenario()) == ["echo: hi"]


async def send_verb(instance: Instance) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(instance.paths.control_socket))
    try:
        writer.write(b'{"id": "1", "words": ["fault", "make"], "options": {}}\n')
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def test_channel_that_ends_on_an_error_is_restarted(instance: Instance) -> None:
    """A channel may end with the error of a message that could not be stored.

    The host starts it again.
    """

    class FailsOnce(RecorderChannel):
        async def listen(self, receive: Receive) -> None:
            if not self.attempts:
                self.attempts.append(Outbound(idempotency_key="seen"))
                raise NanoclawError("not now")
            await super().listen(receive)

    async def scenario() -> list[str]:
        async with running_host(instance, channel=FailsOnce()) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]
