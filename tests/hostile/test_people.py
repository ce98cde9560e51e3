"""Limits of admitted people and of strangers: rates, waiting messages, lengths and recorded refusals (audit S4-S6)."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hostile_sandbox import budgets

from nanoclaw_core import Attachment, Inbound, Outcome, Quoted, Receipt
from nanoclaw_core.mailbox.attachments import store
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime, silent

pytestmark = pytest.mark.invariant(number=14)


def outcomes(receipts: Sequence[Receipt]) -> list[Outcome]:
    return [receipt.outcome for receipt in receipts]


def drops(instance: Instance) -> list[tuple[str, str, int]]:
    return list(instance.db.execute("SELECT sender, reason, count FROM dropped_messages ORDER BY sender"))


async def say_five(running: Running) -> list[Receipt]:
    return [await running.channel.say(f"message {number}") for number in range(5)]


@budgets(person_messages_per_minute=3)
def test_rate_of_a_person_is_limited(limited: Instance) -> None:
    limited.wire()

    async def scenario() -> tuple[list[Receipt], Receipt, list[str]]:
        async with running_host(limited) as running:
            receipts = await say_five(running)
            other = await running.channel.say("hi", sender="bob")
            await until(lambda: any("hi" in sent.message.text for sent in running.channel.delivered))
            return receipts, other, [sent.message.text for sent in running.channel.delivered]

    receipts, other, texts = asyncio.run(scenario())
    assert outcomes(receipts) == [Outcome.ROUTED] * 3 + [Outcome.DROPPED] * 2
    assert other.outcome is Outcome.ROUTED
    assert [text for text in texts if "I take 3 a minute" in text] == [receipts[-1].reason]
    assert drops(limited) == [("ada", "too_many_messages", 2)]


@budgets(person_waiting_messages=3)
def test_waiting_messages_of_a_person_are_limited(limited: Instance) -> None:
    limited.wire()

    async def scenario() -> tuple[list[Receipt], list[str]]:
        async with running_host(limited, runtime=ScriptedRuntime(silent)) as running:
            return await say_five(running), await running.channel.texts(1)

    receipts, texts = asyncio.run(scenario())
    assert outcomes(receipts) == [Outcome.ROUTED] * 3 + [Outcome.DROPPED] * 2
    assert texts == [receipts[-1].reason]
    assert "3 of yours still wait for me" in texts[0]


@budgets(person_waiting_messages=3)
def test_answered_messages_do_not_wait(limited: Instance) -> None:
    limited.wire()

    async def scenario() -> list[Receipt]:
        async with running_host(limited) as running:
            receipts = []
            for count in range(1, 8):
                receipts.append(await running.channel.say(f"message {count}"))
                await running.channel.texts(count)
                await running.host.components.sweeper.once()
            return receipts

    assert outcomes(asyncio.run(scenario())) == [Outcome.ROUTED] * 7


@budgets(person_waiting_messages=3)
def test_context_leaves_a_mention_its_place(limited: Instance) -> None:
    """A person whose talk fills the context of an agent can still ask it."""
    limited.wire(engage_mode=EngageMode.MENTION, ignored_policy=IgnoredPolicy.ACCUMULATE)

    async def scenario() -> tuple[list[Receipt], Receipt, list[str]]:
        async with running_host(limited) as running:
            talk = await say_five(running)
            asked = await running.channel.say("and now?", is_mention=True)
            return talk, asked, await running.channel.texts(1)

    talk, asked, texts = asyncio.run(scenario())
    assert outcomes(talk) == [Outcome.ACCUMULATED] * 3 + [Outcome.DROPPED] * 2
    assert asked.outcome is Outcome.ROUTED
    assert texts == ["echo: and now?"]


@budgets(message_characters=100)
def test_length_of_a_message_is_limited(limited: Instance) -> None:
    limited.wire()

    async def scenario() -> tuple[Receipt, list[str]]:
        async with running_host(limited) as running:
            return await running.channel.say("x" * 101), await running.channel.texts(1)

    receipt, texts = asyncio.run(scenario())
    assert receipt.outcome is Outcome.DROPPED
    assert texts == [receipt.reason]
    assert "longer than 100 characters" in texts[0]


@budgets(person_messages_per_minute=3)
def test_message_offered_again_is_not_counted(limited: Instance) -> None:
    limited.wire()
    same = Inbound(room="room", text="hi", sender="ada", message_id="m1")

    async def scenario() -> list[Receipt]:
        async with running_host(limited) as running:
            return [await running.channel.pass_on(same) for _ in range(5)]

    assert outcomes(asyncio.run(scenario())) == [Outcome.ROUTED] * 5


@budgets(refused_senders=5)
def test_refused_senders_of_a_room_are_limited(limited: Instance, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="nanoclaw_core.store.dropped")
    limited.wire()
    strangers = [f"eve-{number}" for number in range(60)]

    async def scenario() -> list[Receipt]:
        async with running_host(limited, channel=RecorderChannel(refused=strangers)) as running:
            return [await running.channel.say("hi", sender=stranger) for stranger in strangers]

    assert set(outcomes(asyncio.run(scenario()))) == {Outcome.DROPPED}
    assert len(drops(limited)) == 5
    assert [record.message for record in caplog.records].count("more refused senders of a room are not recorded") == 1
    assert [record.message for record in caplog.records].count("message dropped") == 5


def test_flood_of_a_stranger_is_written_in_few_commits(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> int:
        async with running_host(instance, channel=RecorderChannel(refused=["eve"])) as running:
            commits = 0

            def count_commit(*_: object) -> int:
                nonlocal commits
                commits += 1
                return 0

            running.host.components.db.set_wal_hook(count_commit)
            for _ in range(500):
                await running.channel.say("hi", sender="eve")
            await until(lambda: drops(instance)[0][2] == 500)
            return commits

    assert asyncio.run(scenario()) < 50


def test_counts_that_wait_are_written_at_the_stop(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> None:
        async with running_host(instance, channel=RecorderChannel(refused=["eve"])) as running:
            for _ in range(30):
                await running.channel.say("hi", sender="eve")

    asyncio.run(scenario())
    assert drops(instance) == [("eve", "a stranger", 30)]


@budgets(unknown_rooms=5)
def test_unknown_rooms_of_a_channel_are_limited(limited: Instance) -> None:
    async def scenario() -> None:
        async with running_host(limited) as running:
            for number in range(20):
                await running.channel.say("hi", room=f"room-{number}", is_mention=True)

    asyncio.run(scenario())
    assert limited.db.execute("SELECT count(*) FROM messaging_groups").get == 5


def test_quoted_text_is_cut(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hi", quoted=Quoted(message_id="m", sender="bob", text="x" * 1_000_000))

    asyncio.run(scenario())
    (session,) = instance.sessions()
    assert (instance.paths.sessions / session.id / "in" / "inbound.db").stat().st_size < 100_000


@pytest.mark.parametrize(
    "more",
    [
        {"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))},
        {"at": datetime(2026, 1, 5)},  # noqa: DTZ001  # an adapter's fault
        {"at": "yesterday"},
        {"quoted": "text"},
        {"quoted": Quoted(text=7)},  # type: ignore[arg-type]
        {"attachments": ["text"]},
        {"attachments": [Attachment(name="a", content="text")]},  # type: ignore[arg-type]
    ],
)
def test_odd_value_of_a_message_is_dropped(instance: Instance, more: dict[str, object]) -> None:
    """An error would make the platform offer it again for ever."""
    instance.wire()

    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("hi", **more)

    assert asyncio.run(scenario()).outcome is Outcome.DROPPED


@budgets(person_messages_per_minute=3)
def test_person_is_told_in_each_room(limited: Instance) -> None:
    for room in ("a", "b"):
        limited.wire(room=room)

    async def scenario() -> set[str]:
        async with running_host(limited) as running:
            for room in ("a", "a", "a", "a", "b", "b"):
                await running.channel.say("hi", room=room)
            told = lambda: {sent.address.room for sent in running.channel.delivered if sent.message.is_failure}  # noqa: E731
            await until(lambda: told() == {"a", "b"})
            return told()

    assert asyncio.run(scenario()) == {"a", "b"}


@budgets(person_messages_per_minute=3)
def test_stop_and_owners_pass_the_rate(limited: Instance) -> None:
    limited.settings.core.owners.append("recorder:olga")
    limited.wire()

    async def scenario() -> tuple[list[Receipt], Receipt]:
        async with running_host(limited, runtime=ScriptedRuntime(silent)) as running:
            await say_five(running)
            stop = await running.channel.say("/stop")
            return [await running.channel.say("hi", sender="olga") for _ in range(20)], stop

    owner, stop = asyncio.run(scenario())
    assert set(outcomes(owner)) == {Outcome.ROUTED}
    assert stop.outcome is Outcome.ROUTED


def test_denied_command_is_answered_once_a_minute(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            for _ in range(50):
                await running.channel.say("/clear")
            await running.channel.say("hi")
            await until(lambda: "echo: hi" in [sent.message.text for sent in running.channel.delivered])
            return [sent.message.text for sent in running.channel.delivered]

    assert asyncio.run(scenario()).count("Permission denied: /clear requires admin access.") == 1


def test_filtered_command_is_answered(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("/help me")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["Agents do not take /help. Ask in plain words."]


@budgets(person_messages_per_minute=3)
def test_refused_mentions_are_not_recorded(limited: Instance) -> None:
    limited.wire(engage_mode=EngageMode.MENTION_STICKY)

    async def scenario() -> None:
        async with running_host(limited, channel=RecorderChannel(has_threads=True)) as running:
            for number in range(20):
                await running.channel.say("hi", thread=f"t{number}", is_mention=True)

    asyncio.run(scenario())
    assert limited.db.execute("SELECT count(*) FROM sticky_threads").get == 3


@budgets(refused_senders=1)
def test_refusals_of_all_rooms_are_limited(limited: Instance) -> None:
    """A stranger chooses the rooms."""
    for number in range(60):
        limited.wire(room=f"r{number}")

    async def scenario() -> None:
        async with running_host(limited, channel=RecorderChannel(refused=["eve"])) as running:
            for number in range(60):
                await running.channel.say("hi", room=f"r{number}", sender="eve")

    asyncio.run(scenario())
    assert len(drops(limited)) <= 21


@budgets(unknown_rooms=5)
def test_refusals_in_unknown_rooms_are_limited(limited: Instance) -> None:
    async def scenario() -> None:
        async with running_host(limited) as running:
            for number in range(20):
                await running.channel.say("hi", room=f"room-{number}", is_mention=True)

    asyncio.run(scenario())
    assert len(drops(limited)) == 5


def test_files_of_a_message_are_limited(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    sent = [Attachment(name=f"{number}.txt", kind="file", content=b"x" * 100) for number in range(60)]
    entries = store(tmp_path, "in-1", sent, limit_bytes=100)
    assert [entry["name"] for entry in entries if "path" in entry] == ["0.txt", "1.txt", "2.txt", "3.txt"]
    assert len(entries) == 51
    assert entries[-1] == {"name": "10 more", "type": "file", "problem": "a message may have 50 files"}
