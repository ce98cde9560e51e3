"""The router of a running host: rooms, wirings, votes, commands, and the known defects of routing."""

import asyncio
import json
from collections.abc import Iterable

import apsw
import pytest
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import InboundMessage, Routing

from nanoclaw_core import Attachment, Inbound, InvalidArguments, Outcome, Receipt, Roster, UserId, hookimpl
from nanoclaw_core.store import messaging, sessions
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy, SessionMode
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


def stored(instance: Instance, session: Session) -> list[InboundMessage]:
    db = session_files.open_readable(instance.places.home / "sessions" / session.id / "in" / "inbound.db")
    try:
        numbers = [seq for (seq,) in db.execute("SELECT seq FROM messages_in ORDER BY seq")]
        messages = [inbound.by_seq(db, seq) for seq in numbers]
        return [message for message in messages if message is not None]
    finally:
        db.close()


def routing_of(instance: Instance, session: Session) -> Routing:
    db = session_files.open_readable(instance.places.home / "sessions" / session.id / "in" / "inbound.db")
    try:
        return inbound.routing(db)
    finally:
        db.close()


def all_sessions(instance: Instance) -> list[Session]:
    return instance.sessions()


def drops(instance: Instance) -> list[tuple[str, str, int]]:
    return instance.db.execute("SELECT sender, reason, count FROM dropped_messages ORDER BY sender, reason").fetchall()


async def silent(_runner: FakeRunner) -> int:
    await asyncio.Event().wait()
    return 0


def test_message_in_a_wired_room_is_answered(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance) as running:
            receipt = await running.channel.say("hello")
            assert receipt.outcome is Outcome.ROUTED
            assert await running.channel.texts(1) == ["echo: hello"]

    asyncio.run(scenario())


def test_plain_message_in_an_unknown_room_is_ignored(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("hello", room="elsewhere")

    assert asyncio.run(scenario()).outcome is Outcome.IGNORED
    assert messaging.find(instance.db, "recorder", "elsewhere") is None


def test_mention_in_an_unknown_room_is_recorded_as_unwired(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("hello", room="elsewhere", is_mention=True)

    receipt = asyncio.run(scenario())
    assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, "no agent is wired to this room")
    assert messaging.find(instance.db, "recorder", "elsewhere") is not None
    assert drops(instance) == [("ada", "no_agent_wired", 1)]


def test_messages_of_a_room_share_a_session(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("one")
            await running.channel.say("two")

    asyncio.run(scenario())
    (session,) = all_sessions(instance)
    assert [json.loads(message.content)["text"] for message in stored(instance, session)] == ["one", "two"]


def test_each_wired_agent_has_its_own_session_and_answers(instance: Instance) -> None:
    instance.wire(folder="other")

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hello")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hello", "echo: hello"]
    assert len(all_sessions(instance)) == 2


def test_accumulate_stores_a_message_without_waking(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION, ignored_policy=IgnoredPolicy.ACCUMULATE)

    async def scenario() -> tuple[Receipt, int]:
        async with running_host(bare_instance) as running:
            return await running.channel.say("by the way"), len(running.runtime.specs)

    receipt, sandboxes = asyncio.run(scenario())
    assert (receipt.outcome, sandboxes) == (Outcome.ACCUMULATED, 0)
    (message,) = stored(bare_instance, all_sessions(bare_instance)[0])
    assert message.trigger is False


def test_dropped_message_makes_no_session(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION)

    async def scenario() -> Receipt:
        async with running_host(bare_instance) as running:
            return await running.channel.say("by the way")

    assert asyncio.run(scenario()).outcome is Outcome.IGNORED
    assert all_sessions(bare_instance) == []


def test_stored_row_has_channel_room_and_thread(bare_instance: Instance) -> None:
    bare_instance.wire(session_mode=SessionMode.SHARED)

    async def scenario() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hello", thread="t1", message_id="p-1")

    asyncio.run(scenario())
    (message,) = stored(bare_instance, all_sessions(bare_instance)[0])
    assert (message.channel, message.room, message.thread) == ("recorder", "room", "t1")
    assert message.platform_message_id == "p-1"


def test_thread_of_a_group_is_its_own_conversation(bare_instance: Instance) -> None:
    bare_instance.wire(is_group=True)

    async def scenario() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            for thread in ("a", "b", "a"):
                await running.channel.say("hello", thread=thread, is_group=True)

    asyncio.run(scenario())
    assert sorted(session.thread or "" for session in all_sessions(bare_instance)) == ["a", "b"]


def test_repeated_platform_message_is_stored_once(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            for _ in range(2):
                await running.channel.say("hello", message_id="p-1")

    asyncio.run(scenario())
    assert len(stored(instance, all_sessions(instance)[0])) == 1


class AdminOf:
    """A plugin that makes a user an approver of one agent group."""

    def __init__(self, user: str, group_id: str) -> None:
        self._user, self._group_id = UserId(user), group_id

    @hookimpl
    def nanoclaw_rosters(self) -> Iterable[Roster]:
        yield Roster(name="admins", approvers=lambda group_id, _: [self._user] if group_id == self._group_id else [])


@pytest.mark.defect(number=1)
def test_denied_command_is_answered_and_others_receive_it(instance: Instance) -> None:
    instance.wire(folder="other", priority=-1)
    admins = AdminOf("recorder:ada", instance.group("other").id)

    async def scenario() -> tuple[Receipt, set[str]]:
        async with running_host(instance, admins=admins) as running:
            return await running.channel.say("/clear"), set(await running.channel.texts(2))

    receipt, texts = asyncio.run(scenario())
    assert receipt.outcome is Outcome.ROUTED
    assert texts == {"Permission denied: /clear requires admin access.", "echo: /clear"}
    assert drops(instance) == [("ada", "command_needs_admin", 1)]


@pytest.mark.defect(number=1)
def test_failing_wiring_does_not_stop_the_next(instance: Instance) -> None:
    instance.wire(folder="other", priority=-1)

    async def both_hear() -> None:
        async with running_host(instance) as running:
            await running.channel.say("first")
            await running.channel.texts(2)

    async def second() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("second")
            return await running.channel.texts(1)

    asyncio.run(both_hear())
    damaged = sessions.find(instance.db, instance.group().id, f"room:{instance.room().id}")
    assert damaged is not None
    db = apsw.Connection(str(instance.places.home / "sessions" / damaged.id / "in" / "inbound.db"))
    db.pragma("user_version", 99)  # another version, which the host neither reads nor repairs
    db.close()
    assert asyncio.run(second()) == ["echo: second"]


def test_owner_may_use_an_admin_command(instance: Instance) -> None:
    instance.settings.core.owners.append("recorder:ada")

    async def scenario() -> Receipt:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            return await running.channel.say("/clear")

    assert asyncio.run(scenario()).outcome is Outcome.ROUTED


@pytest.mark.defect(number=3)
def test_accumulated_message_does_not_make_an_agent_sticky(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION_STICKY, ignored_policy=IgnoredPolicy.ACCUMULATE, is_group=True)

    async def scenario() -> list[Outcome]:
        async with running_host(bare_instance, runtime=ScriptedRuntime(silent)) as running:
            says = running.channel.say
            return [
                (await says("one")).outcome,
                (await says("two")).outcome,
                (await says("@agent", is_mention=True)).outcome,
                (await says("three")).outcome,
            ]

    assert asyncio.run(scenario()) == [Outcome.ACCUMULATED, Outcome.ACCUMULATED, Outcome.ROUTED, Outcome.ROUTED]


def test_stickiness_is_per_thread_and_survives_a_restart(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION_STICKY, is_group=True)

    async def mention() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("@agent", thread="a", is_mention=True, is_group=True)

    async def follow_up() -> list[Outcome]:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            return [(await running.channel.say("on", thread=thread, is_group=True)).outcome for thread in ("a", "b")]

    asyncio.run(mention())
    assert asyncio.run(follow_up()) == [Outcome.ROUTED, Outcome.IGNORED]


@pytest.mark.defect(number=5)
@pytest.mark.parametrize("mode", [EngageMode.PATTERN, EngageMode.MENTION])
def test_message_of_a_refused_sender_is_not_stored(bare_instance: Instance, mode: EngageMode) -> None:
    pattern = "." if mode is EngageMode.PATTERN else None
    bare_instance.wire(engage_mode=mode, engage_pattern=pattern, ignored_policy=IgnoredPolicy.ACCUMULATE)

    async def scenario() -> Receipt:
        async with running_host(bare_instance, channel=RecorderChannel(refused=["eve"])) as running:
            attachment = Attachment(name="a.txt", content=b"x")
            return await running.channel.say("hello", sender="eve", attachments=(attachment,))

    assert asyncio.run(scenario()).outcome is Outcome.DROPPED
    assert all_sessions(bare_instance) == []
    assert bare_instance.db.execute("SELECT count(*) FROM users").get == 0


@pytest.mark.defect(number=19)
def test_refusal_is_counted_per_sender_with_its_reason(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, channel=RecorderChannel(refused=["eve", "mallory"])) as running:
            for sender in ("eve", "mallory", "eve"):
                await running.channel.say("hello", sender=sender)

    asyncio.run(scenario())
    assert drops(instance) == [("eve", "a stranger", 2), ("mallory", "a stranger", 1)]


@pytest.mark.defect(number=33)
def test_sender_id_with_a_colon_stays_in_its_channel(instance: Instance) -> None:
    instance.settings.core.owners.append("terminal:operator")

    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("/clear", sender="terminal:operator")

    assert asyncio.run(scenario()).outcome is Outcome.DROPPED


@pytest.mark.defect(number=37)
def test_agent_shared_session_follows_the_last_room(bare_instance: Instance) -> None:
    bare_instance.wire(room="private")
    bare_instance.wire(room="a", session_mode=SessionMode.AGENT_SHARED)
    bare_instance.wire(room="b", session_mode=SessionMode.AGENT_SHARED)

    async def scenario() -> list[str]:
        async with running_host(bare_instance) as running:
            for count, room in enumerate(("private", "a", "b", "a"), 1):
                await running.channel.say(f"in {room}", room=room)
                await running.channel.texts(count)
            return [sent.address.room for sent in running.channel.delivered]

    assert asyncio.run(scenario()) == ["private", "a", "b", "a"]
    (shared,) = [session for session in all_sessions(bare_instance) if session.messaging_group_id is None]
    assert len(all_sessions(bare_instance)) == 2
    assert routing_of(bare_instance, shared) == Routing(channel="recorder", room="a")


@pytest.mark.defect(number=44)
def test_room_keeps_the_name_of_its_platform(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hello", room_name="The Garden")
            await running.channel.say("hello", room_name="The Yard")

    asyncio.run(scenario())
    assert instance.room().name == "The Yard"


@pytest.mark.defect(number=46)
def test_only_the_whole_word_is_a_command(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            return await running.channel.say("/clearance please")

    assert asyncio.run(scenario()).outcome is Outcome.ROUTED


@pytest.mark.defect(number=54)
def test_failed_attachment_does_not_lose_its_message(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("first", message_id="p-0")
            (session,) = all_sessions(instance)
            inbox = instance.places.home / "sessions" / session.id / "in" / "inbox"
            inbox.rmdir()
            inbox.symlink_to(instance.places.home / "nowhere")
            await running.channel.say("see", attachments=(Attachment(name="a.txt", content=b"x"),))

    asyncio.run(scenario())
    *_, last = stored(instance, all_sessions(instance)[0])
    (described,) = json.loads(last.content)["attachments"]
    assert described["problem"] == "could not be stored"
    assert not (instance.places.home / "nowhere").exists()


@pytest.mark.defect(number=54)
def test_long_file_name_is_shortened(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("see", attachments=(Attachment(name="ä" * 120 + ".txt", content=b"x"),))

    asyncio.run(scenario())
    (session,) = all_sessions(instance)
    (described,) = json.loads(stored(instance, session)[0].content)["attachments"]
    path = instance.places.home / "sessions" / session.id / "in" / described["path"]
    assert path.read_bytes() == b"x"
    assert path.suffix == ".txt"


@pytest.mark.defect(number=55)
def test_empty_thread_is_no_thread(instance: Instance) -> None:
    async def scenario() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            for thread in ("", None, ""):
                await running.channel.say("hello", thread=thread, is_group=True)

    asyncio.run(scenario())
    assert len(all_sessions(instance)) == 1


@pytest.mark.defect(number=58)
@pytest.mark.parametrize(
    "malformed",
    [
        None,
        {"text": "hello"},
        Inbound(room=""),
        Inbound(room=7),  # type: ignore[arg-type]
        Inbound(room="room", text=None),  # type: ignore[arg-type]
        Inbound(room="room", sender=12),  # type: ignore[arg-type]
        Inbound(room="room", sender="\ud800"),
    ],
)
def test_malformed_input_is_dropped_and_channel_continues(instance: Instance, malformed: Inbound) -> None:
    async def scenario() -> tuple[Receipt, list[str]]:
        async with running_host(instance) as running:
            receipt = await running.channel.pass_on(malformed)
            await running.channel.say("hello")
            return receipt, await running.channel.texts(1)

    receipt, texts = asyncio.run(scenario())
    assert receipt.outcome is Outcome.DROPPED
    assert receipt.reason
    assert texts == ["echo: hello"]


def test_lone_surrogates_in_a_text_become_question_marks(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("a\ud800b")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: a?b"]


@pytest.mark.parametrize("pattern", ["(", "[b-a]", "(" * 3000 + ")" * 3000])
def test_pattern_that_does_not_compile_is_refused(bare_instance: Instance, pattern: str) -> None:
    with pytest.raises(InvalidArguments, match="engage_pattern: it is"):
        bare_instance.wire(engage_mode=EngageMode.PATTERN, engage_pattern=pattern)


@pytest.mark.invariant(number=3)
def test_accepted_message_is_durable(instance: Instance) -> None:
    async def scenario() -> list[InboundMessage]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hello")
            return stored(instance, all_sessions(instance)[0])

    assert len(asyncio.run(scenario())) == 1


@pytest.mark.invariant(number=3)
def test_message_that_cannot_be_stored_is_not_accepted(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hello")
            (session,) = all_sessions(instance)
            await until(lambda: running.runtime.sandboxes)
            path = instance.places.home / "sessions" / session.id / "in" / "inbound.db"
            reader = session_files.open_readable(path)
            lock = reader.execute("BEGIN; SELECT * FROM messages_in")  # a sandbox can hold a read lock, too
            with pytest.raises(Exception, match="locked"):
                await running.channel.say("again")
            lock.close()
            reader.close()

    asyncio.run(scenario())


@pytest.mark.invariant(number=8)
def test_message_without_any_vote_is_dropped(instance: Instance) -> None:
    class Mute(RecorderChannel):
        nanoclaw_admit_message = None  # type: ignore[assignment]

    async def scenario() -> Receipt:
        async with running_host(instance, channel=Mute()) as running:
            return await running.channel.say("hello")

    receipt = asyncio.run(scenario())
    assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, "no plugin allowed it")


def test_messages_of_a_room_keep_their_order_at_each_agent(bare_instance: Instance) -> None:
    """A channel passes two messages side by side; the second agent reads the one to both first."""
    for name in ("ann", "bob"):
        bare_instance.wire(folder=name, engage_mode=EngageMode.PATTERN, engage_pattern=f"@{name}")
    read: dict[str, list[str]] = {}

    async def script(runner: FakeRunner) -> int:
        while True:
            messages = await runner.take()
            texts = [json.loads(message.content)["text"] for message in messages]
            read.setdefault(runner.spec.session_id, []).extend(texts)
            runner.answer(messages, "ok")

    async def scenario() -> None:
        async with running_host(bare_instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("@ann @bob first")
            await running.channel.texts(2)
            await asyncio.gather(running.channel.say("@ann @bob older"), running.channel.say("@bob younger"))
            await until(lambda: sum(map(len, read.values())) == 5)

    asyncio.run(scenario())
    assert ["@ann @bob first", "@ann @bob older", "@bob younger"] in read.values()
