"""Thirty flipped bytes in one of the three files.

Each room gets an answer or a notice, and nothing is stuck (I4).

Each case copies the same stopped host. Three rooms share its one session; each room has one answer and waits for
another.
"""

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import pytest
from attrs import evolve, field, frozen
from runner_scripts import answering

from nanoclaw_core import NanoclawError
from nanoclaw_core.instance import InstancePaths
from nanoclaw_core.store.messaging import SessionMode
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

pytestmark = pytest.mark.xdist_group("flipped_bytes")

ROOMS = ("a0", "a1", "a2")
TOLD = "The files of this conversation were damaged."
GIVEN_UP = "I am sorry, I could not answer this message"
FLIPPED = 30
PLACES, LONG_PLACES = 10, 400  # cases of each file; every second one flips one bit in each of thirty places
STUCK_AFTER_S = 30.0
FILES = ("sessions/*/in/inbound.db", "sessions/*/out/outbound.db", "data/nanoclaw.db")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """Return a stopped instance with three rooms that each wait for an answer."""
    instance = make_instance(tmp_path_factory.mktemp("template") / "home", start_pauses_s=[0.01])
    for room in ROOMS:
        instance.wire(room=room, session_mode=SessionMode.AGENT_SHARED)

    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(answering(len(ROOMS)))) as running:
            for room in ROOMS:
                await running.channel.say(f"answered {room}", room=room, message_id=f"first-{room}")
            await running.channel.texts(len(ROOMS))
            for room in ROOMS:
                await running.channel.say(f"waiting {room}", room=room, message_id=f"second-{room}")

    asyncio.run(scenario())
    instance.db.close()  # closing the last connection copies the write-ahead log into the file
    return instance


async def answers_each(runner: FakeRunner) -> int:
    """Answer each message separately, in its own room."""
    while True:
        for message in await runner.take():
            runner.answer([message], f"echo: {json.loads(message.content)['text']}")


@frozen(kw_only=True)
class DamagedRun:
    """The result of a run on a damaged instance.

    Args:
        refused: The error with which the host refused to start, or an empty text.
        by_room: The delivered texts of each room.
    """

    refused: str = ""
    by_room: dict[str, list[str]] = field(factory=dict)

    def problem(self) -> str:
        """Describe the first problem, or return an empty text."""
        if self.refused:
            return "" if "nanoclaw.db" in self.refused and "backup" in self.refused else f"unclear: {self.refused}"
        for room, texts in self.by_room.items():
            if not has_answer(texts, f"new {room}"):
                return f"{room} is not answered: {texts}"
            if not has_fate(texts, room):
                return f"{room} lost its message and is not told: {texts}"
        return ""


def has_answer(texts: Sequence[str], words: str) -> bool:
    return any(words in text for text in texts)


def has_fate(texts: Sequence[str], room: str) -> bool:
    """Return True if a room's waiting message was answered, or its people read that it is lost."""
    return has_answer(texts, f"waiting {room}") or any(text.startswith((TOLD, GIVEN_UP)) for text in texts)


def damaged_copy(template: Instance, home: Path, pattern: str, seed: int) -> Instance:
    """Copy the template and change one file: thirty bytes in a row, or one bit in each of thirty places."""
    shutil.copytree(template.paths.home, home, ignore=lambda _path, names: [n for n in names if n.endswith(".sock")])
    (path,) = home.glob(pattern)
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)
    if seed % 2:
        for position in chance.sample(range(len(content)), FLIPPED):
            content[position] ^= 1 << chance.randrange(8)
    else:
        at = chance.randrange(len(content) - FLIPPED)
        for position in range(at, at + FLIPPED):
            content[position] ^= chance.randrange(1, 256)
    path.write_bytes(content)
    settings = evolve(template.settings, home=home)
    return Instance(settings=settings, paths=InstancePaths(home=home), db=apsw.Connection(":memory:"))


async def run_damaged(instance: Instance) -> DamagedRun:
    """Start a host on a damaged instance, repeat each room's last message, and send one more."""
    try:
        async with running_host(instance, runtime=ScriptedRuntime(answers_each)) as running:

            def texts(room: str) -> list[str]:
                return [sent.message.text for sent in running.channel.delivered if sent.address.room == room]

            def is_answered(room: str) -> bool:
                return has_answer(texts(room), f"new {room}")

            for room in ROOMS:
                await running.channel.say(f"waiting {room}", room=room, message_id=f"second-{room}")
                await running.channel.say(f"new {room}", room=room, message_id=f"third-{room}")
            await until_each_room(
                lambda room: has_fate(texts(room), room) and (is_answered(room) or is_lost(texts(room)))
            )
            for room in ROOMS:
                if not is_answered(room):  # people follow the notice
                    await running.channel.say(f"new {room}", room=room, message_id=f"fourth-{room}")
            await until_each_room(is_answered)
            return DamagedRun(by_room={room: texts(room) for room in ROOMS})
    except NanoclawError as error:
        return DamagedRun(refused=str(error))


def is_lost(texts: Sequence[str]) -> bool:
    return any(text.startswith(TOLD) and "send it again" in text for text in texts)


async def until_each_room(holds: Callable[[str], bool]) -> None:
    """Wait until a condition holds for each room.

    Do not raise on a timeout: `DamagedRun.problem` names the room.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STUCK_AFTER_S):
            await until(lambda: all(holds(room) for room in ROOMS))


def series(template: Instance, tmp_path: Path, pattern: str, seeds: range) -> dict[int, str]:
    """Run a case for each seed, and return the problems by seed."""
    failures = {}
    for seed in seeds:
        instance = damaged_copy(template, tmp_path / str(seed), pattern, seed)
        result = asyncio.run(run_damaged(instance))
        instance.db.close()
        if problem := result.problem():
            failures[seed] = problem
        shutil.rmtree(tmp_path / str(seed))
    return failures


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("pattern", FILES)
def test_flipped_bytes_leave_nothing_stuck(template: Instance, tmp_path: Path, pattern: str) -> None:
    """Each run damages the same few places of each file."""
    assert series(template, tmp_path, pattern, range(PLACES)) == {}


@pytest.mark.long
@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("pattern", FILES)
def test_many_flipped_bytes_leave_nothing_stuck(template: Instance, tmp_path: Path, pattern: str) -> None:
    """The long run damages each file 400 times, one half in a row and one half in single bits."""
    assert series(template, tmp_path, pattern, range(LONG_PLACES)) == {}
