"""Sandbox slots: an idle sandbox stops for a waiting session.

People are informed of a long wait.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nanoclaw_core import SandboxFailed, SandboxSpec, Service, hookimpl
from nanoclaw_core.ids import SessionId, UserId
from nanoclaw_core.sandboxes.claims import Claim, WaitReason
from nanoclaw_core.sandboxes.notices import waiting_text
from nanoclaw_core.sandboxes.running import Running
from nanoclaw_core.sandboxes.slots import Slots, Wait, idle_to_end
from nanoclaw_core.store.messaging import SessionMode
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, ScriptedSandbox, echo, unanswering
from nanoclaw_core.timing import Timing

ONE, TWO, THREE, FOUR = (SessionId(f"ses-{number}") for number in (1, 2, 3, 4))


def with_slots(tmp_path: Path, count: int, rooms: list[str]) -> Instance:
    instance = make_instance(tmp_path / "home", max_sandboxes=count)
    for room in rooms:
        instance.wire(room=room)
    return instance


@pytest.mark.slow
def test_hundred_conversations_share_two_slots(tmp_path: Path) -> None:
    """Each of 100 rooms gets its answer."""
    rooms = [f"room-{number}" for number in range(100)]
    instance = with_slots(tmp_path, 2, rooms)

    async def scenario() -> set[str]:
        async with running_host(instance, timing=Timing(slot_notice_s=3_600)) as running:
            for room in rooms:
                await running.channel.say(f"hi from {room}", room=room)
            await running.channel.texts(len(rooms))
            return {sent.address.room for sent in running.channel.delivered}

    assert asyncio.run(scenario()) == set(rooms)


def test_idle_sandbox_is_stopped_for_a_waiting_session(tmp_path: Path) -> None:
    """The sandbox with the longest idle time stops.

    Its session is answered again later.
    """
    instance = with_slots(tmp_path, 2, ["a", "b", "c"])

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            for count, room in enumerate(["a", "b", "c", "a"], 1):
                await running.channel.say(room, room=room)
                await running.channel.texts(count)
            return [spec.session_id for spec in running.runtime.specs]

    first, second, third, fourth = asyncio.run(scenario())
    assert (len({first, second, third}), fourth) == (3, first)


def test_runner_with_an_unread_message_is_not_idle(instance: Instance) -> None:
    """The runner reports that it is idle in the moment in which the next message arrives."""

    async def read_late(runner: FakeRunner) -> int:
        first = await runner.take()
        taken.set()
        await is_stored.wait()
        runner.answer(first, "one")
        await may_take.wait()
        runner.answer(await runner.take(), "two")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[bool]:
        async with running_host(instance, runtime=ScriptedRuntime(read_late)) as running:
            await running.channel.say("one")
            await taken.wait()
            await running.channel.say("two")
            is_stored.set()
            await running.channel.texts(1)
            [sandbox] = running.host.components.supervisor.running.values()
            was_idle = [sandbox.idle_since is not None]
            may_take.set()
            await running.channel.texts(2)
            return [*was_idle, sandbox.idle_since is not None]

    taken, is_stored, may_take = asyncio.Event(), asyncio.Event(), asyncio.Event()
    assert asyncio.run(scenario()) == [False, True]


def test_working_sandbox_is_never_stopped_for_another(tmp_path: Path) -> None:
    """Waiting people read that all agents are busy, and `status` lists the session."""
    instance = with_slots(tmp_path, 1, ["a", "b"])

    async def scenario() -> tuple[list[str], object]:
        async with running_host(
            instance, runtime=ScriptedRuntime(unanswering), timing=Timing(slot_notice_s=0)
        ) as running:
            await running.channel.say("work", room="a")
            await until(lambda: running.runtime.sandboxes)
            await running.channel.say("and me?", room="b")
            texts = await running.channel.texts(1)
            assert running.channel.delivered[0].address.room == "b"
            return texts, running.host.status()["waiting_for_a_slot"]

    texts, waiting = asyncio.run(scenario())
    query = "SELECT s.id FROM sessions s JOIN messaging_groups m ON m.id = s.messaging_group_id WHERE m.room = 'b'"
    wait = {"session": instance.db.execute(query).get, "person": "recorder:ada", "reason": WaitReason.ALL.value}
    assert (texts, waiting) == ([waiting_text(WaitReason.ALL, 2)], [wait])


def test_each_room_of_a_waiting_session_gets_one_notice(tmp_path: Path) -> None:
    """A person in the second room of an agent-shared session reads it without a delay."""
    instance = with_slots(tmp_path, 1, ["a"])
    for room in ("b", "c"):
        instance.wire(room=room, folder="shared", session_mode=SessionMode.AGENT_SHARED)

    async def scenario() -> list[str]:
        async with running_host(
            instance, runtime=ScriptedRuntime(unanswering), timing=Timing(slot_notice_s=0)
        ) as running:
            await running.channel.say("work", room="a")
            await until(lambda: running.runtime.sandboxes)
            for count, room in enumerate(["b", "c"], 1):
                await running.channel.say("and me?", room=room)
                await running.channel.texts(count)
            return [sent.address.room for sent in running.channel.delivered]

    assert asyncio.run(scenario()) == ["b", "c"]


class SlowGateway:
    """A gateway that closes its endpoints when the test permits it."""

    def __init__(self) -> None:
        self.may_close, self.is_closing = asyncio.Event(), asyncio.Event()

    @hookimpl
    def nanoclaw_services(self) -> list[Service]:
        return [Service(name="slow", connect=lambda *_: self, is_gateway=True)]

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def open_endpoint(self, _door: object) -> None:
        return None

    async def close_endpoint(self, _session_id: str) -> None:
        self.is_closing.set()
        await self.may_close.wait()


def test_stopping_sandbox_counts_as_a_free_slot(tmp_path: Path) -> None:
    """Until a stopping sandbox frees its slot, no second sandbox stops for the same session."""
    instance = with_slots(tmp_path, 2, ["a", "b", "c"])

    async def scenario() -> int:
        gateway = SlowGateway()
        async with running_host(instance, gateway=gateway) as running:
            for count, room in enumerate(["a", "b"], 1):
                await running.channel.say(room, room=room)
                await running.channel.texts(count)
            await running.channel.say("c", room="c")
            await gateway.is_closing.wait()
            first, second = running.runtime.specs
            running.host.components.supervisor.note_idle(SessionId(second.session_id))
            gateway.may_close.set()
            await running.channel.texts(3)
            assert first.session_id not in running.host.components.supervisor.running
            return len(running.host.components.supervisor.running)

    assert asyncio.run(scenario()) == 2


class Stubborn(ScriptedRuntime):
    """A runtime that fails once to stop a sandbox."""

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        sandbox = await super().start(spec)
        stop, fails = sandbox.stop, not self.sandboxes[1:]

        async def fail_first(grace_s: float) -> None:
            nonlocal fails
            if fails:
                fails = False
                raise SandboxFailed("the engine does not answer")
            await stop(grace_s)

        sandbox.stop = fail_first  # type: ignore[method-assign]
        return sandbox


def test_sandbox_that_failed_to_stop_is_stopped_later(tmp_path: Path) -> None:
    """After one failure of the engine, the waiting session still gets a slot."""
    instance = with_slots(tmp_path, 1, ["a", "b", "c"])

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=Stubborn()) as running:
            await running.channel.say("one", room="a")
            await running.channel.texts(1)
            await running.channel.say("two", room="b")
            await running.channel.say("again", room="a")
            await running.channel.texts(3)
            return sorted(sent.message.text for sent in running.channel.delivered)

    assert asyncio.run(scenario()) == ["echo: again", "echo: one", "echo: two"]


def test_short_wait_for_a_slot_is_not_reported(tmp_path: Path) -> None:
    """An idle sandbox stops within seconds, so a notice would be noise."""
    instance = with_slots(tmp_path, 1, ["a", "b"])

    async def scenario() -> list[str]:
        timing = Timing(slot_notice_s=3_600)
        async with running_host(instance, runtime=ScriptedRuntime(echo), timing=timing) as running:
            await running.channel.say("one", room="a")
            await running.channel.texts(1)
            await running.channel.say("two", room="b")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: one", "echo: two"]


def test_slots_are_granted_in_waiting_order() -> None:
    """No session overtakes another, and a cancelled wait is skipped."""
    order: list[str] = []

    async def scenario() -> None:
        slots = Slots(1, {}, lambda _: None)

        async def hold(session_id: SessionId) -> None:
            async with slots.hold(session_id, Claim(), for_ever):
                order.append(session_id)

        async with slots.hold(ONE, Claim(), for_ever):
            second, third = asyncio.create_task(hold(TWO)), asyncio.create_task(hold(THREE))
            await asyncio.sleep(0)
            assert list(slots.waiting) == [TWO, THREE]
            second.cancel()
            await asyncio.wait([second])
            assert list(slots.waiting) == [THREE]
        await third
        async with slots.hold(TWO, Claim(), for_ever):
            order.append("free again")

    asyncio.run(scenario())
    assert order == [THREE, "free again"]


def test_slot_counts_for_the_person_who_woke_it() -> None:
    """A person who joins a turn takes no slot, and one who wakes an idle sandbox does."""

    async def scenario() -> list[str | None]:
        running = {ONE: sandbox(None)}
        slots, people = Slots(4, running, lambda _: None), list[str | None]()
        async with slots.hold(ONE, Claim(person=UserId("ada")), for_ever):
            for idle_since in (None, 1.0):
                running[ONE].idle_since = idle_since
                slots.assign(ONE, UserId("bob"), is_owner=False)
                people.append(slots.held[ONE].person)
        return people

    assert asyncio.run(scenario()) == ["ada", "bob"]


@pytest.mark.parametrize("person", [UserId("eve"), None])
def test_idle_sandbox_of_an_owner_counts_for_others(person: UserId | None) -> None:
    """A person or a task that wakes it has no right to the slot of the owners."""

    async def scenario() -> tuple[bool, bool]:
        slots = Slots(4, {ONE: sandbox(1.0)}, lambda _: None)
        async with slots.hold(ONE, Claim(person=UserId("operator"), is_owner=True, has_others=False), for_ever):
            slots.assign(ONE, person, is_owner=False)
            return slots.held[ONE].is_owner, slots.held[ONE].has_others

    assert asyncio.run(scenario()) == (False, True)


def test_others_who_join_a_waiting_owner_count() -> None:
    """The conversation of an owner who waits gets no slot for owners alone once others wrote in it, too."""

    async def scenario() -> Claim:
        slots, own = Slots(1, {}, lambda _: None), Claim(person=UserId("operator"), is_owner=True, has_others=False)

        async def hold_own() -> None:
            async with slots.hold(TWO, own, for_ever):
                pass

        async with slots.hold(ONE, Claim(), for_ever):
            waiting = asyncio.create_task(hold_own())
            await asyncio.sleep(0)
            slots.assign(TWO, UserId("eve"), is_owner=False)
            claim = slots.waiting[TWO].claim
        await waiting
        return claim

    assert asyncio.run(scenario()) == Claim(person=UserId("eve"), is_owner=True, has_others=True)


def test_slot_of_a_cancelled_wait_is_passed_on() -> None:
    """A session that is closed at the moment it gets its slot does not keep it."""

    async def scenario() -> list[SessionId]:
        slots, got = Slots(1, {}, lambda _: None), []

        async def hold(session_id: SessionId) -> None:
            async with slots.hold(session_id, Claim(), for_ever):
                got.append(session_id)

        async with slots.hold(ONE, Claim(), for_ever):
            second, third = asyncio.create_task(hold(TWO)), asyncio.create_task(hold(THREE))
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second, third])
        return got

    assert asyncio.run(scenario()) == [THREE]


async def for_ever(_wait: Wait) -> None:
    await asyncio.Event().wait()


def sandbox(idle_since: float | None, ending: str = "") -> Running:
    nothing: Any = None  # the decision reads neither
    return Running(sandbox=nothing, bell=nothing, runtime="r", provider="p", idle_since=idle_since, ending=ending)


def test_only_as_many_sandboxes_stop_as_sessions_wait() -> None:
    """A sandbox that is already stopping counts."""
    running = {ONE: sandbox(2.0), TWO: sandbox(1.0), THREE: sandbox(None)}
    claims = {session_id: Claim(person=UserId(session_id)) for session_id in (ONE, TWO, THREE, FOUR)}
    assert idle_to_end(running, claims, 2, 0) == []
    assert idle_to_end(running, claims, 2, 1) == [TWO]
    assert idle_to_end(running, claims, 2, 5) == [TWO, ONE]
    assert idle_to_end({**running, FOUR: sandbox(0.5, "stuck")}, claims, 2, 1) == []


def test_sandbox_that_others_joined_stops_last() -> None:
    """It stops while it works, but only if no idle one is left."""
    running = {ONE: sandbox(None), TWO: sandbox(None), THREE: sandbox(1.0)}
    claims = dict.fromkeys(running, Claim(is_owner=True, has_others=False)) | {TWO: Claim(is_owner=True)}
    assert idle_to_end(running, claims, 2, 3) == [THREE, TWO]


def test_idle_sandboxes_beyond_a_share_stop_first() -> None:
    """A person who wrote in many threads costs others no warm sandbox."""
    running = {session_id: sandbox(float(at)) for at, session_id in enumerate((ONE, TWO, THREE, FOUR))}
    people = {ONE: "ada", TWO: "bob", THREE: "bob", FOUR: "bob"}
    claims = {session_id: Claim(person=UserId(person)) for session_id, person in people.items()}
    assert idle_to_end(running, claims, 2, 4) == [TWO, THREE, FOUR, ONE]
