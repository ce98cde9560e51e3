"""Slots under people, rooms, agents and runners that hold them as long as they can (audit S6)."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated_time import simulated_time

from nanoclaw_core import SandboxSpec
from nanoclaw_core.sandboxes.claims import WaitReason
from nanoclaw_core.store.messaging import SessionMode
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, ScriptedSandbox, silent
from nanoclaw_core.timing import Timing

pytestmark = pytest.mark.invariant(number=14)
SOON = Timing(slot_notice_s=0)
HOLD = "hold your slot"
KEPT = "Your message is kept and will be answered once one of them has ended."
OWN_SHARE = f"I already work on 2 conversations with you, which is as many as I take from one person. {KEPT}"


async def obedient(runner: FakeRunner) -> int:
    """Echo each message until one says that the slot is to be held."""
    while True:
        messages = await runner.take()
        text = json.loads(messages[-1].content)["text"]
        if text == HOLD:
            return await silent(runner)
        runner.answer(messages, f"echo: {text}")


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Instance]:
    """An instance with four slots, of which a person may use two."""
    made = make_instance(tmp_path / "four", max_sandboxes=4, owners=["recorder:operator"])
    yield made
    made.db.close()


@pytest.fixture
def eight(tmp_path: Path) -> Iterator[Instance]:
    """An instance with eight slots, of which a room or a group may use five."""
    made = make_instance(tmp_path / "eight", max_sandboxes=8, owners=["recorder:operator"])
    yield made
    made.db.close()


def working(running: Running) -> int:
    sandboxes = running.host.components.supervisor.running.values()
    return sum(sandbox.idle_since is None for sandbox in sandboxes)


def waits(running: Running) -> list[tuple[str, str]]:
    return [(wait["person"], wait["reason"]) for wait in running.host.status()["waiting_for_a_slot"]]


async def answer_to(running: Running, room: str, sender: str) -> str:
    """Write to a room, and return the first text that it gets."""
    await running.channel.say("hi", room=room, sender=sender)
    await until(lambda: any(sent.address.room == room for sent in running.channel.delivered))
    return next(sent.message.text for sent in running.channel.delivered if sent.address.room == room)


def test_person_with_many_threads_takes_no_slot_of_others(four: Instance) -> None:
    """The person reads why the third conversation waits, and another person gets an answer."""
    for room in ("a", "b", "c", "d", "bobs"):
        four.wire(room=room)

    async def scenario() -> tuple[list[str], list[tuple[str, str]], str]:
        async with running_host(four, runtime=ScriptedRuntime(obedient), timing=SOON) as running:
            for room in ("a", "b", "c", "d"):
                await running.channel.say(HOLD, room=room, sender="eve")
            texts = await running.channel.texts(2)
            return texts, waits(running), await answer_to(running, "bobs", "bob")

    texts, waiting, answer = asyncio.run(scenario())
    assert texts == [OWN_SHARE] * 2
    assert waiting == [("recorder:eve", WaitReason.PERSON.value)] * 2
    assert answer == "echo: hi"


def test_person_wakes_no_more_idle_sandboxes_than_the_share(four: Instance) -> None:
    """Idle sandboxes are no slots that a person may collect for later."""
    rooms = ("a", "b", "c", "d")
    for room in (*rooms, "bobs"):
        four.wire(room=room)

    async def scenario() -> tuple[int, str]:
        async with running_host(four, runtime=ScriptedRuntime(obedient)) as running:
            for room in rooms:
                await answer_to(running, room, "eve")
            for room in rooms:
                await running.channel.say(HOLD, room=room, sender="eve")
            answer = await answer_to(running, "bobs", "bob")
            return len(waits(running)), answer

    assert asyncio.run(scenario()) == (2, "echo: hi")


def test_other_person_is_answered_in_a_waiting_thread(four: Instance) -> None:
    """A conversation whose first writer holds a share starts for the next writer."""
    for room in ("a", "b", "shared"):
        four.wire(room=room)

    async def scenario() -> str:
        async with running_host(four, runtime=ScriptedRuntime(obedient)) as running:
            for room in ("a", "b"):
                await running.channel.say(HOLD, room=room, sender="eve")
            await running.channel.say("eve waits", room="shared", sender="eve")
            await until(lambda: waits(running))
            return await answer_to(running, "shared", "bob")

    assert asyncio.run(scenario()) == "echo: hi"


def test_conversation_of_another_is_not_made_to_wait(tmp_path: Path) -> None:
    """A person beyond the share who writes in a waiting thread does not take its claim."""
    instance = make_instance(tmp_path / "three", max_sandboxes=3)
    for room in ("a", "b", "c", "shared"):
        instance.wire(room=room)

    async def scenario() -> list[tuple[str, str]]:
        async with running_host(instance, runtime=ScriptedRuntime(obedient)) as running:
            for room, sender in (("a", "eve"), ("b", "eve"), ("c", "ann")):
                await running.channel.say(HOLD, room=room, sender=sender)
            await until(lambda: working(running) == 3)
            for sender in ("bob", "eve"):
                await running.channel.say("hi", room="shared", sender=sender)
            await until(lambda: waits(running))
            return waits(running)

    assert asyncio.run(scenario()) == [("recorder:bob", WaitReason.ALL.value)]
    instance.db.close()


def test_operator_is_answered_while_others_hold_all_slots(four: Instance) -> None:
    for room in ("a", "b", "c", "d", "operator"):
        four.wire(room=room)

    async def scenario() -> tuple[list[str], str]:
        async with running_host(four, runtime=ScriptedRuntime(obedient), timing=SOON) as running:
            for number, room in enumerate(("a", "b", "c", "d")):
                await running.channel.say(HOLD, room=room, sender=f"eve {number}")
            texts = await running.channel.texts(1)
            return texts, await answer_to(running, "operator", "operator")

    texts, answer = asyncio.run(scenario())
    assert texts == [f"All agents are busy with other conversations. {KEPT}"]
    assert answer == "echo: hi"


async def hijack(running: Running) -> None:
    """Hold all slots of others, and then join the owner's turn in a shared room."""
    for number, room in enumerate(("a", "b", "c")):
        await running.channel.say(HOLD, room=room, sender=f"eve {number}")
    await until(lambda: len(running.runtime.sandboxes) == 3)
    await running.channel.say(HOLD, room="shared", sender="operator")
    await until(lambda: len(running.host.components.supervisor.slots.held) == 4)
    await running.channel.say(HOLD, room="shared", sender="eve 0")


def test_others_who_join_an_owner_take_no_slot_of_owners(four: Instance) -> None:
    """Their conversation stops as often as the owner needs the slot elsewhere."""
    for room in ("a", "b", "c", "shared", "operator"):
        four.wire(room=room)

    async def scenario() -> list[str]:
        async with running_host(four, runtime=ScriptedRuntime(obedient)) as running:
            await hijack(running)
            await answer_to(running, "operator", "operator")
            await until(lambda: working(running) == 4)  # the stopped turn is tried again
            await running.channel.say("again", room="operator", sender="operator")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hi", "echo: again"]


def test_joined_sandbox_stops_once_it_has_started(four: Instance) -> None:
    """The owner writes elsewhere while the sandbox that others joined starts."""
    for room in ("a", "b", "c", "shared", "operator"):
        four.wire(room=room)

    class Slow(ScriptedRuntime):
        async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
            if len(self.sandboxes) == 3:
                await may_start.wait()
            return await super().start(spec)

    async def scenario() -> str:
        async with running_host(four, runtime=Slow(obedient)) as running:
            await hijack(running)
            await running.channel.say("help!", room="operator", sender="operator")
            await until(lambda: waits(running))
            may_start.set()
            return (await running.channel.texts(1))[0]

    may_start = asyncio.Event()
    assert asyncio.run(scenario()) == "echo: help!"


def test_followers_use_up_no_share_of_an_owner(four: Instance) -> None:
    """Others keep two conversations at work that the owner began."""
    for room in ("a", "b", "operator"):
        four.wire(room=room)

    async def scenario() -> str:
        async with running_host(four, runtime=ScriptedRuntime(obedient), timing=SOON) as running:
            for room, sender in (("a", "operator"), ("b", "operator"), ("a", "eve"), ("b", "eve")):
                await running.channel.say(HOLD, room=room, sender=sender)
            return await answer_to(running, "operator", "operator")

    assert asyncio.run(scenario()) == "echo: hi"


def test_flood_of_a_waiting_person_gets_a_notice_a_minute(four: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another person who writes in the room meanwhile reads the notice within that minute."""
    for room in ("a", "b", "c", "d"):
        four.wire(room=room)

    async def scenario() -> list[int]:
        async with running_host(four, runtime=ScriptedRuntime(silent)) as running:
            for room in ("a", "b", "c"):
                await running.channel.say(HOLD, room=room, sender=f"eve {room}")
            counts = []
            for sender in ["eve"] * 20 + ["bob"]:
                await running.channel.say("flood", room="d", sender=sender)
                await asyncio.sleep(1.0)
            for pause_s in (30.0, 60.0, 600.0):
                counts.append(len(running.channel.delivered))
                await asyncio.sleep(pause_s)
            return [*counts, len(running.channel.delivered)]

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == [1, 1, 2, 2]


def test_room_leaves_slots_to_other_rooms(eight: Instance) -> None:
    """Many people of one room hold slots in a thread each."""
    eight.wire(room="busy", session_mode=SessionMode.PER_THREAD)
    eight.wire(room="quiet")

    async def scenario() -> tuple[list[str], int, str]:
        channel = RecorderChannel(has_threads=True)
        async with running_host(eight, channel=channel, runtime=ScriptedRuntime(obedient), timing=SOON) as running:
            for number in range(8):
                await channel.say(HOLD, room="busy", sender=f"eve {number}", thread=f"thread {number}")
            texts = await channel.texts(3)
            return texts, working(running), await answer_to(running, "quiet", "bob")

    texts, held, answer = asyncio.run(scenario())
    assert texts == [f"I am busy with other conversations of this room. {KEPT}"] * 3
    assert (held, answer) == (5, "echo: hi")


def test_agent_group_leaves_slots_to_other_groups(eight: Instance) -> None:
    for number in range(8):
        eight.wire(room=f"room {number}", folder="evil")
    eight.wire(room="quiet", folder="honest")

    async def scenario() -> tuple[list[str], int, str]:
        async with running_host(eight, runtime=ScriptedRuntime(obedient), timing=SOON) as running:
            for number in range(8):
                await running.channel.say(HOLD, room=f"room {number}", sender=f"eve {number}")
            texts = await running.channel.texts(3)
            return texts, working(running), await answer_to(running, "quiet", "bob")

    texts, held, answer = asyncio.run(scenario())
    assert texts == [f"I am busy with other conversations. {KEPT}"] * 3
    assert (held, answer) == (5, "echo: hi")


def test_only_agent_group_may_use_the_slots_of_others(eight: Instance) -> None:
    for number in range(8):
        eight.wire(room=f"room {number}")

    async def scenario() -> list[tuple[str, str]]:
        async with running_host(eight, runtime=ScriptedRuntime(obedient)) as running:
            for number in range(8):
                await running.channel.say(HOLD, room=f"room {number}", sender=f"ada {number}")
            await until(lambda: working(running) == 7)
            return waits(running)

    assert asyncio.run(scenario()) == [("recorder:ada 7", WaitReason.ALL.value)]


class Deathless:
    """A runner that claims its message and then forges heartbeats, as often as its messages are tried.

    Args:
        lives: The number of sandboxes that do so; the next one answers.
    """

    def __init__(self, lives: int) -> None:
        self.lives, self.tries = lives, list[int]()

    async def run(self, runner: FakeRunner) -> int:
        messages = await runner.take()
        self.tries.append(messages[0].tries)
        if len(self.tries) > self.lives:
            runner.answer(messages, "an answer at last")
        while True:
            runner.files.heartbeat.touch()
            os.utime(runner.files.heartbeat, (time.time(), time.time()))
            await asyncio.sleep(30.0)


LIFE_S = 120.0


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "short-lived", max_life_s=LIFE_S)
    made.wire()
    yield made
    made.db.close()


def test_forged_heartbeats_do_not_stretch_a_life(short_lived: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox ends in the middle of its turn, which is tried again and counts as no failed try."""
    deathless = Deathless(lives=1)

    async def scenario() -> tuple[int, list[str]]:
        async with running_host(short_lived, runtime=ScriptedRuntime(deathless.run)) as running:
            await running.channel.say("hi")
            await asyncio.sleep(LIFE_S + Timing().life_grace_s - 10.0)
            lives = len(running.runtime.sandboxes)
            await asyncio.sleep(20.0)
            return lives, await running.channel.texts(1)

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == (1, ["an answer at last"])
    assert deathless.tries == [0, 0]


def test_turn_that_never_ends_is_given_up(short_lived: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer reads it, so a message neither waits nor works for ever (I13)."""
    deathless = Deathless(lives=100)

    async def scenario() -> list[str]:
        timing = Timing(life_grace_s=60.0)
        async with running_host(short_lived, runtime=ScriptedRuntime(deathless.run), timing=timing) as running:
            await running.channel.say("hi")
            await asyncio.sleep(8 * (LIFE_S + timing.life_grace_s))
            return await running.channel.texts(1)

    with simulated_time(monkeypatch) as loop:
        [text] = loop.run_until_complete(scenario())
    assert text.startswith("I am sorry, I could not answer this message")
    assert deathless.tries == [0, 0, 1, 2, 3, 4, 5]


def test_expired_sandbox_stops_once_it_is_idle(short_lived: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn ends within the time of grace, and nothing is tried again."""

    async def answer_late(runner: FakeRunner) -> int:
        messages = await runner.take()
        runner.files.heartbeat.touch()
        await asyncio.sleep(LIFE_S + 60.0)
        runner.answer(messages, "done")
        return await silent(runner)

    async def scenario() -> tuple[int, int, list[str]]:
        timing = Timing(claim_tolerance_s=1e6)
        async with running_host(short_lived, runtime=ScriptedRuntime(answer_late), timing=timing) as running:
            await running.channel.say("hi")
            await asyncio.sleep(LIFE_S + 50.0)
            before = len(running.host.components.supervisor.running)
            await asyncio.sleep(20.0)
            after = len(running.host.components.supervisor.running)
            return before, after, await running.channel.texts(1)

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == (1, 0, ["done"])


def test_idle_sandbox_stops_at_the_longest_life(short_lived: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile runner does not exit after `idle_stop_s`."""

    async def scenario() -> int:
        async with running_host(short_lived) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            await asyncio.sleep(LIFE_S + 10.0)
            return len(running.host.components.supervisor.running)

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == 0
