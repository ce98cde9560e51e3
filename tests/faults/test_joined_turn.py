"""A message that arrives while a tool runs joins the running turn.

One result answers both.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ANSWER, DIRECT, HALL, SCRIPT, Harness, HostHandle
from journal import DeliveredMessage, WrittenMessage

# The first tool shows that the turn runs. Another message joins it while the second tool runs.
LONG_WORK = {
    "match": "do:long",
    "tools": [
        {"name": "send_message", "arguments": {"text": "working on it"}},
        {"name": "add_reaction", "arguments": {"message_id": 2, "emoji": "eyes"}, "delay_s": 1.0},
    ],
    **ANSWER,
}
OVERLOADED = {"message": "overloaded", "retryable": True, "kind": "overloaded"}
REFUSED = {"message": "refused", "retryable": False}
ENDS = {"kill": HostHandle.kill, "stop": HostHandle.terminate}


def make_harness(directory: Path, *steps: dict[str, object]) -> Harness:
    harness = Harness(directory, (DIRECT, HALL), script=[*steps, LONG_WORK, *SCRIPT])
    harness.limit_prompts(1)
    return harness


async def join_turn(harness: Harness, room: str, *threads: str | None) -> list[WrittenMessage]:
    """Write a message with long work and one that joins its turn, and wait until both have their answer."""
    platform = harness.platform
    before = len(platform.delivered)
    first = platform.write(room, "do:long", thread=threads[0])
    await harness.until(lambda: any(message.text == "working on it" for message in platform.delivered[before:]))
    second = platform.write(room, thread=threads[-1])
    await harness.until_answered(first, second)
    assert platform.answers(first) == platform.answers(second), "the second message did not join the turn"
    return [first, second]


def replies(harness: Harness, message: WrittenMessage) -> list[tuple[str | None, str | None]]:
    """Return `thread` and `in_reply_to` of each answer to a message."""
    return [(answer.thread, answer.in_reply_to) for answer in harness.platform.answers(message)]


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_joined_message_is_answered_once_after_end(short_directory: Path, end: Callable[[HostHandle], None]) -> None:
    """The host ends directly after the answer to two messages.

    The next host repeats neither answer.
    """
    harness = make_harness(short_directory)

    async def scenario() -> list[DeliveredMessage]:
        async with harness.running():
            async with harness.host() as host:
                _, second = await join_turn(harness, DIRECT.name, None)
                end(host)
            async with harness.host() as host:
                await harness.until_answered(harness.platform.write(DIRECT.name))
                await harness.stop(host)
        return harness.platform.answers(second)

    assert len(asyncio.run(scenario())) == 1
    harness.require_no_faults()


@pytest.mark.invariant(number=4)
def test_joined_message_is_answered_once_after_crash(short_directory: Path) -> None:
    """The runner is killed directly after the answer to two messages.

    Its successor repeats neither answer.
    """
    harness = make_harness(short_directory)

    async def scenario() -> None:
        async with harness.running(), harness.host() as host:
            await join_turn(harness, DIRECT.name, None)
            await harness.kill_runners()
            await harness.until_answered(harness.platform.write(DIRECT.name))
            await harness.stop(host)

    asyncio.run(scenario())
    harness.require_no_faults()


def test_failure_after_joined_turn_retries_its_own(short_directory: Path) -> None:
    """A turn fails and is retried.

    The message that joined an earlier turn gets no second answer.
    """
    harness = make_harness(short_directory, {"match": "do:overload", "error": OVERLOADED, "times": 1})

    async def scenario() -> None:
        async with harness.running(), harness.host() as host:
            await join_turn(harness, DIRECT.name, None)
            await harness.until_answered(harness.platform.write(DIRECT.name, "do:overload"))
            await harness.stop(host)

    asyncio.run(scenario())
    harness.require_no_faults()


def test_final_failure_after_joined_turn_names_its_own(short_directory: Path) -> None:
    """A turn fails for good.

    The failure text names its message, and no other message gets a second answer.
    """
    harness = make_harness(short_directory, {"match": "do:refuse", "error": REFUSED, "times": None})

    async def scenario() -> WrittenMessage:
        async with harness.running(), harness.host() as host:
            await join_turn(harness, DIRECT.name, None)
            refused = harness.platform.write(DIRECT.name, "do:refuse")
            await harness.until(lambda: any(message.is_failure for message in harness.platform.delivered))
            await harness.until_answered(harness.platform.write(DIRECT.name))
            await harness.stop(host)
        return refused

    refused = asyncio.run(scenario())
    assert [message.in_reply_to for message in harness.platform.delivered if message.is_failure] == [refused.id]
    assert harness.count().told == [f"m-{refused.number}"]
    harness.require_no_faults()


def test_answers_after_joined_turn_keep_their_threads(short_directory: Path) -> None:
    """After a joined turn of an agent-shared session, each later answer stays in the thread of its question."""
    harness = make_harness(short_directory)

    async def scenario() -> list[WrittenMessage]:
        async with harness.running(), harness.host() as host:
            await join_turn(harness, HALL.name, "x", "y")
            later = []
            for thread in ("z", "x", "y", "w"):
                later.append(harness.platform.write(HALL.name, thread=thread))
                await harness.until_answered(later[-1])
            await harness.stop(host)
        return later

    later = asyncio.run(scenario())
    assert [replies(harness, message) for message in later] == [[(message.thread, message.id)] for message in later]
    harness.require_no_faults()


def test_joined_answer_goes_to_newest_question(short_directory: Path) -> None:
    """The answer to two threads goes to the thread of the newest message, and replies to it."""
    harness = make_harness(short_directory)

    async def scenario() -> list[WrittenMessage]:
        async with harness.running(), harness.host() as host:
            messages = await join_turn(harness, HALL.name, "x", "y")
            await harness.stop(host)
        return messages

    first, second = asyncio.run(scenario())
    assert [("y", second.id)] == replies(harness, first) == replies(harness, second)
