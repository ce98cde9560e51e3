"""A session whose files are corrupt, cut short or gone stops alone, is set aside, and its conversation goes on.

I4: nothing accepted is lost. I12: people are told in plain words. Defect 25: one session's trouble is its own.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import Kind, NewInbound

from nanoclaw_core import Attachment
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.integrity import check_integrity
from nanoclaw_core.mailbox.quarantine import MAX_NOTICE_ROOMS, MAX_TRIES
from nanoclaw_core.store import sessions
from nanoclaw_core.store.messaging import SessionMode
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance, set_aside_before
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

TOLD = "The files of this conversation were damaged."
IN, OUT = "in/inbound.db", "out/outbound.db"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home", start_pauses_s=[0.01])
    made.wire()
    made.wire(room="other")
    yield made
    made.db.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def emptiness(path: Path) -> None:
    path.write_bytes(b"")


def nothing(path: Path) -> None:
    path.unlink()


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def a_mangled_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def a_missing_table(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("DROP TABLE messages_in" if path.name == "inbound.db" else "DROP TABLE messages_out")
    db.close()


DAMAGES = [garbage, emptiness, nothing, half, a_mangled_page, a_missing_table]


def session_of(instance: Instance, room: str = "room") -> Session:
    found = sessions.find(instance.db, instance.group().id, f"room:{instance.room(room).id}")
    assert found is not None
    return found


def file_of(instance: Instance, name: str) -> Path:
    return instance.places.home / "sessions" / session_of(instance).id / name


def a_message(message_id: str) -> NewInbound:
    return NewInbound(id=message_id, kind=Kind.CHAT, at=clock.now_text(), content='{"text": "hi"}')


def a_conversation(instance: Instance) -> None:
    """Let a host have one, and stop it."""

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", [IN, OUT])
@pytest.mark.parametrize("damage", DAMAGES)
def test_invariant_04_after_damage_a_message_is_answered_in_a_fresh_session(
    instance: Instance, damage: Callable[[Path], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    a_conversation(instance)
    damaged = session_of(instance)
    damage(file_of(instance, name))

    async def scenario() -> tuple[list[str], list[str]]:
        async with running_host(instance) as running:
            await running.channel.say("elsewhere", room="other")
            await running.channel.texts(1)
            await running.channel.say("after")
            texts = await running.channel.texts(3)
            return texts[:1], sorted(texts[1:])

    others, ours = asyncio.run(scenario())
    assert others == ["echo: elsewhere"]
    assert ours[0].startswith(TOLD)
    assert damaged.id in ours[0]
    assert ours[1] == "echo: after"
    (aside,) = set_aside_before(instance.places.home / "sessions")
    assert aside.startswith(f"{damaged.id}.broken-")
    assert session_of(instance).id != damaged.id
    (line,) = [record for record in caplog.records if record.message == "session quarantined"]
    assert vars(line)["session"] == damaged.id
    assert Path(name).name in vars(line)["reason"]
    assert vars(line)["files"].endswith(aside)


@pytest.mark.parametrize("damage", DAMAGES)
def test_invariant_04_what_waits_when_only_the_outbound_side_is_damaged_is_answered_and_nothing_twice(
    instance: Instance, damage: Callable[[Path], None]
) -> None:
    async def dies(runner: FakeRunner) -> int:
        runner.answer(await runner.take(limit=1), "answered")
        await asyncio.Event().wait()
        return 0

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(dies)) as running:
            await running.channel.say("one")
            await running.channel.texts(1)
            await running.channel.say("two")

    async def by_name(runner: FakeRunner) -> int:
        messages = await runner.take()
        known = inbound.destinations(runner.received)[0]  # what an agent writes goes to a name, as a runner knows it
        words = [json.loads(message.content)["text"] for message in messages]
        runner.answer(messages, f"by name: {words}", channel=known.channel, room=known.room)
        await asyncio.Event().wait()
        return 0

    async def second() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(by_name)) as running:
            await running.channel.texts(2)
            await running.host.components.queues.drained()
            return await running.channel.texts(2)

    asyncio.run(first())
    damage(file_of(instance, OUT))
    inbox = apsw.Connection(str(file_of(instance, IN)))
    inbox.execute("UPDATE messages_in SET status = 'pending'")  # as a crash leaves it before all is copied
    inbox.close()
    texts = asyncio.run(second())
    assert texts[0].startswith(TOLD)
    assert texts[1:] == ["by name: ['two']"]


def test_warning_25_damage_while_the_sandbox_runs_ends_it_and_the_message_is_answered(instance: Instance) -> None:
    async def vandal(runner: FakeRunner) -> int:
        if len(runtime.specs) > 1:
            return await echo(runner)
        await runner.take()
        garbage(runner.files.outbound_db)
        runner.bell.ring()
        await asyncio.Event().wait()
        return 0

    runtime = ScriptedRuntime(vandal)

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    texts = asyncio.run(scenario())
    assert texts[0].startswith(TOLD)
    assert texts[1] == "echo: hi"


def test_a_sandbox_that_breaks_every_session_is_given_up_and_people_are_told(instance: Instance) -> None:
    async def vandal(runner: FakeRunner) -> int:
        await runner.take()
        garbage(runner.files.outbound_db)
        return 1

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(vandal)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(MAX_TRIES + 1)

    texts = asyncio.run(scenario())
    assert "I could not answer your last message; please use other words." in texts[-1]
    assert "msg-" in texts[-1]
    assert len(set_aside_before(instance.places.home / "sessions")) == MAX_TRIES + 1


def test_a_file_that_no_runner_can_repair_is_set_aside_in_the_end(instance: Instance) -> None:
    """A directory in the journal's place: every runner fails to open its file, and the host must not repair it."""
    a_conversation(instance)
    journal = file_of(instance, "out/outbound.db-journal")
    journal.unlink(missing_ok=True)
    journal.mkdir()

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    texts = asyncio.run(scenario())
    assert sorted(text[:8] for text in texts) == sorted([TOLD[:8], "echo: hi"])


def test_a_directory_that_became_a_link_is_damage_and_nothing_behind_it_is_touched(instance: Instance) -> None:
    a_conversation(instance)
    outside = instance.places.home / "outside"
    outside.mkdir()
    outbox = file_of(instance, "out/outbox")
    outbox.rmdir()
    outbox.symlink_to(outside)

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)

    asyncio.run(scenario())
    assert list(outside.iterdir()) == []


def test_a_host_that_starts_finds_the_damage_of_a_session_with_work(instance: Instance) -> None:
    async def never(_runner: FakeRunner) -> int:
        await asyncio.Event().wait()
        return 0

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(never)) as running:
            await running.channel.say("hi")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    garbage(file_of(instance, IN))
    (told,) = asyncio.run(second())
    assert told.startswith(TOLD)
    assert "please send it again" in told


def test_a_whole_session_is_not_set_aside_because_the_runtime_fails(instance: Instance) -> None:
    async def scenario() -> list[str]:
        runtime = ScriptedRuntime()
        runtime.troubles = [ValueError("a runtime's own trouble"), apsw.CorruptError("somebody else's")]
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            await until(lambda: any(one.message.text == "echo: hi" for one in running.channel.delivered))
            return [one.message.text for one in running.channel.delivered]

    assert "echo: hi" in asyncio.run(scenario())
    assert set_aside_before(instance.places.home / "sessions") == []


def test_invariant_04_attachments_go_along_with_their_message(instance: Instance) -> None:
    async def never(runner: FakeRunner) -> int:
        await runner.take()
        garbage(runner.files.outbound_db)
        return 1

    async def looks(runner: FakeRunner) -> int:
        if len(runtime.specs) == 1:
            return await never(runner)
        messages = await runner.take()
        (attachment,) = json.loads(messages[-1].content)["attachments"]
        runner.answer(messages, (runner.files.incoming / attachment["path"]).read_text())
        return 0

    runtime = ScriptedRuntime(looks)

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("look", attachments=[Attachment(name="a.txt", content=b"its words")])
            return await running.channel.texts(2)

    assert asyncio.run(scenario())[1] == "its words"


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (IN, b"display_name TEXT", b"dispMay_name TEXT"),
        (IN, b"correlation_id TEXT", b"correMation_id TEXT"),
        (IN, b"CHECK (tries >= 0)", b"CHECK (trieX >= 0)"),
        (IN, b"IN ('channel', 'agent')", b"IN ('chunnel', 'agent')"),
        (OUT, b"in_reply_to TEXT", b"in_reXly_to TEXT"),
        (OUT, b"'completed', 'failed'", b"'complXted', 'failed'"),
    ],
)
def test_schema_damaged_in_one_letter_is_set_aside(instance: Instance, name: str, old: bytes, new: bytes) -> None:
    """One letter of the table definitions changed: SQLite opens the file and refuses each write (F9)."""
    a_conversation(instance)
    path = file_of(instance, name)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            return sorted(await running.channel.texts(2))

    texts = asyncio.run(scenario())
    assert texts[0].startswith(TOLD)
    assert texts[1] == "echo: hi"


@pytest.mark.parametrize("name", [IN, OUT])
def test_schema_with_other_comments_is_whole(instance: Instance, name: str) -> None:
    """A version that words a comment differently must not make each session of an instance look damaged."""
    a_conversation(instance)
    path = file_of(instance, name)
    content = path.read_bytes()
    old = b"as the platform gave it" if name == IN else b"grows with every change"
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, old[::-1]))
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert check_integrity(layout, session_of(instance)) == ""


@pytest.mark.parametrize("name", [IN, OUT])
def test_header_with_an_impossible_protocol_is_damage(instance: Instance, name: str) -> None:
    """A flipped number in the header is no later version: nothing could ever open that session again."""
    a_conversation(instance)
    path = file_of(instance, name)
    with path.open("r+b") as file:
        file.seek(60)  # user_version, see https://www.sqlite.org/fileformat2.html
        file.write(b"\xa7\x31\x00\x01")
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert path.name in check_integrity(layout, session_of(instance))


def test_index_that_lost_a_row_is_damage(instance: Instance) -> None:
    """A pending message that its index does not name is never taken by a runner; only a full check finds that."""
    a_conversation(instance)
    path = file_of(instance, IN)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA writable_schema = 1")
    text = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'messages_in_pending'").get
    db.execute(
        "UPDATE sqlite_schema SET sql = ? WHERE name = 'messages_in_pending'", (text.replace("pending'", "other'"),)
    )
    db.close()
    db = apsw.Connection(str(path))
    inbound.append(db, [a_message("left-out")])
    db.execute("PRAGMA writable_schema = 1")
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'messages_in_pending'", (text,))
    db.close()
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert "messages_in_pending" in check_integrity(layout, session_of(instance))


@pytest.mark.invariant(number=4)
def test_damage_that_hides_a_message_is_found_at_start(instance: Instance) -> None:
    """The waiting message has an impossible status: nothing fails, no runner ever takes it, and nobody would hear."""

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hi")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    db = apsw.Connection(str(file_of(instance, IN)))
    db.pragma("ignore_check_constraints", 1)
    db.execute("UPDATE messages_in SET status = 'pendinX'")
    db.close()
    (told,) = asyncio.run(second())
    assert told.startswith(TOLD)
    assert "please send it again" in told


def an_agent_shared_session(tmp_path: Path, rooms: int, *, answered: int, ids: bool) -> Instance:
    """Let some rooms share one session: the first are answered, the others wait when the host stops."""
    instance = make_instance(tmp_path / "shared", start_pauses_s=[0.01])
    for number in range(rooms):
        instance.wire(room=f"a{number}", session_mode=SessionMode.AGENT_SHARED)

    async def answers_some(runner: FakeRunner) -> int:
        for _ in range(answered):
            runner.answer(await runner.take(limit=1), "answered")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(answers_some)) as running:
            for number in range(rooms):
                await running.channel.say("hi", room=f"a{number}", message_id=f"p-{number}" if ids else None)
            await running.channel.texts(answered)

    asyncio.run(scenario())
    return instance


def shared_file(instance: Instance, name: str) -> Path:
    (session,) = instance.sessions()
    return instance.places.home / "sessions" / session.id / name


def told_rooms(instance: Instance, count: int) -> list[str]:
    """Start a host, and return the rooms that were told of the damage after so many notices."""

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.texts(count)
            await running.host.components.queues.drained()
            return sorted(one.address.room for one in running.channel.delivered if one.message.text.startswith(TOLD))

    return asyncio.run(scenario())


async def silent(_runner: FakeRunner) -> int:
    await asyncio.Event().wait()
    return 0


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("answered", [0, 1])
def test_damaged_inbound_db_is_told_to_each_room(tmp_path: Path, answered: int, ids: bool) -> None:
    """Several rooms share the session, and what waits is lost: each of them has to send its message again (F10)."""
    instance = an_agent_shared_session(tmp_path, 3, answered=answered, ids=ids)
    garbage(shared_file(instance, IN))
    assert told_rooms(instance, 3) == ["a0", "a1", "a2"]
    instance.db.close()


@pytest.mark.invariant(number=4)
def test_damaged_outbound_db_is_told_to_each_room(tmp_path: Path) -> None:
    """Each room that shares the session hears that its conversation starts afresh, once."""
    instance = an_agent_shared_session(tmp_path, 3, answered=1, ids=True)
    garbage(shared_file(instance, OUT))
    assert told_rooms(instance, 3) == ["a0", "a1", "a2"]
    instance.db.close()


def test_damage_is_told_to_a_bounded_number_of_rooms(tmp_path: Path) -> None:
    """A session that hundreds of rooms share must not make the host flood its channels."""
    instance = an_agent_shared_session(tmp_path, MAX_NOTICE_ROOMS + 3, answered=0, ids=True)
    garbage(shared_file(instance, IN))
    assert len(told_rooms(instance, MAX_NOTICE_ROOMS)) == MAX_NOTICE_ROOMS
    instance.db.close()


def test_each_room_reads_what_becomes_of_its_own_messages(tmp_path: Path) -> None:
    """One room waits for its answer and another got it: only the first reads that its message goes along."""
    instance = an_agent_shared_session(tmp_path, 2, answered=1, ids=True)
    garbage(shared_file(instance, OUT))

    async def scenario() -> dict[str, str]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.texts(2)
            return {one.address.room: one.message.text for one in running.channel.delivered}

    texts = asyncio.run(scenario())
    assert "goes along" not in texts["a0"]
    assert "goes along" in texts["a1"]
    instance.db.close()
