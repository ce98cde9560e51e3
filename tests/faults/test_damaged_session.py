"""A session with corrupt, truncated or missing files is quarantined alone, and its conversation continues.

I4: no accepted message is lost. I12: people are told in plain words. Defect 25: one session's damage stops no other.
"""

import asyncio
import json
import os
import re
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


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def drop_table(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("DROP TABLE messages_in" if path.name == "inbound.db" else "DROP TABLE messages_out")
    db.close()


DAMAGES = [fill_with_garbage, empty, remove, cut_in_half, overwrite_page, drop_table]


def session_of(instance: Instance, room: str = "room") -> Session:
    session = sessions.find(instance.db, instance.group().id, f"room:{instance.room(room).id}")
    assert session is not None
    return session


def file_of(instance: Instance, name: str) -> Path:
    return instance.places.home / "sessions" / session_of(instance).id / name


def pending_message(message_id: str) -> NewInbound:
    return NewInbound(id=message_id, kind=Kind.CHAT, at=clock.now_text(), content='{"text": "hi"}')


def have_conversation(instance: Instance) -> None:
    """Let a host answer one message, and stop it."""

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)

    asyncio.run(scenario())


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("name", [IN, OUT])
@pytest.mark.parametrize("damage", DAMAGES)
def test_message_after_damage_is_answered_in_fresh_session(
    instance: Instance, damage: Callable[[Path], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    have_conversation(instance)
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


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_outbound_db_loses_and_repeats_nothing(instance: Instance, damage: Callable[[Path], None]) -> None:
    """Only the waiting message goes to the fresh session; the answered one gets no second answer."""

    async def answers_one(runner: FakeRunner) -> int:
        runner.answer(await runner.take(limit=1), "answered")
        await asyncio.Event().wait()
        return 0

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(answers_one)) as running:
            await running.channel.say("one")
            await running.channel.texts(1)
            await running.channel.say("two")

    async def answers_by_name(runner: FakeRunner) -> int:
        messages = await runner.take()
        known = inbound.destinations(runner.received)[0]  # a runner resolves the name that an agent writes
        words = [json.loads(message.content)["text"] for message in messages]
        runner.answer(messages, f"by name: {words}", channel=known.channel, room=known.room)
        await asyncio.Event().wait()
        return 0

    async def second() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(answers_by_name)) as running:
            await running.channel.texts(2)
            await running.host.components.queues.drained()
            return await running.channel.texts(2)

    asyncio.run(first())
    damage(file_of(instance, OUT))
    inbox = apsw.Connection(str(file_of(instance, IN)))
    inbox.execute("UPDATE messages_in SET status = 'pending'")  # as after a crash before the host copied everything
    inbox.close()
    texts = asyncio.run(second())
    assert texts[0].startswith(TOLD)
    assert texts[1:] == ["by name: ['two']"]


@pytest.mark.defect(number=25)
def test_damage_while_sandbox_runs_stops_it(instance: Instance) -> None:
    """The next sandbox has a fresh session, and answers the message."""

    async def damages_outbound_db(runner: FakeRunner) -> int:
        if len(runtime.specs) > 1:
            return await echo(runner)
        await runner.take()
        fill_with_garbage(runner.files.outbound_db)
        runner.bell.ring()
        await asyncio.Event().wait()
        return 0

    runtime = ScriptedRuntime(damages_outbound_db)

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    texts = asyncio.run(scenario())
    assert texts[0].startswith(TOLD)
    assert texts[1] == "echo: hi"


def test_message_that_damages_each_session_is_given_up(instance: Instance) -> None:
    """After `MAX_TRIES` fresh sessions the host stops, and people read that there is no answer."""

    async def damages_outbound_db(runner: FakeRunner) -> int:
        await runner.take()
        fill_with_garbage(runner.files.outbound_db)
        return 1

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(damages_outbound_db)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(MAX_TRIES + 1)

    texts = asyncio.run(scenario())
    assert "I could not answer your last message; please use other words." in texts[-1]
    assert "msg-" in texts[-1]
    assert len(set_aside_before(instance.places.home / "sessions")) == MAX_TRIES + 1


def test_file_that_no_runner_repairs_is_quarantined(instance: Instance) -> None:
    """The journal is a directory: every runner fails to open its file, and the host must not repair it."""
    have_conversation(instance)
    journal = file_of(instance, "out/outbound.db-journal")
    journal.unlink(missing_ok=True)
    journal.mkdir()

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    texts = asyncio.run(scenario())
    assert sorted(text[:8] for text in texts) == sorted([TOLD[:8], "echo: hi"])


def test_directory_replaced_by_link_is_not_followed(instance: Instance) -> None:
    """The host treats the link as damage, and writes nothing to its target."""
    have_conversation(instance)
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


def test_host_start_finds_damage_of_session_with_work(instance: Instance) -> None:
    """People are told at once, and asked to send their lost message again."""

    async def never_answers(_runner: FakeRunner) -> int:
        await asyncio.Event().wait()
        return 0

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(never_answers)) as running:
            await running.channel.say("hi")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    fill_with_garbage(file_of(instance, IN))
    (told,) = asyncio.run(second())
    assert told.startswith(TOLD)
    assert "please send it again" in told


def test_runtime_failure_quarantines_no_session(instance: Instance) -> None:
    """An error that a runtime raises, even SQLite's error for damage, does not condemn the session's files."""

    async def scenario() -> list[str]:
        runtime = ScriptedRuntime()
        runtime.troubles = [ValueError("a runtime's own error"), apsw.CorruptError("another file's")]
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            await until(lambda: any(delivered.message.text == "echo: hi" for delivered in running.channel.delivered))
            return [delivered.message.text for delivered in running.channel.delivered]

    assert "echo: hi" in asyncio.run(scenario())
    assert set_aside_before(instance.places.home / "sessions") == []


@pytest.mark.invariant(number=4)
def test_attachment_follows_message_to_fresh_session(instance: Instance) -> None:
    async def damages_outbound_db(runner: FakeRunner) -> int:
        await runner.take()
        fill_with_garbage(runner.files.outbound_db)
        return 1

    async def reads_attachment(runner: FakeRunner) -> int:
        if len(runtime.specs) == 1:
            return await damages_outbound_db(runner)
        messages = await runner.take()
        (attachment,) = json.loads(messages[-1].content)["attachments"]
        runner.answer(messages, (runner.files.incoming / attachment["path"]).read_text())
        return 0

    runtime = ScriptedRuntime(reads_attachment)

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
def test_schema_damaged_in_one_letter_is_quarantined(instance: Instance, name: str, old: bytes, new: bytes) -> None:
    """One letter of the table definitions differs: SQLite opens the file and refuses each write (F9)."""
    have_conversation(instance)
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
    """A version with different comments in its schema must not find all sessions of an instance damaged."""
    have_conversation(instance)
    path = file_of(instance, name)
    content, changed = re.subn(rb"(?<=-- )[ -~]+", lambda comment: comment[0][::-1], path.read_bytes(), count=1)
    assert changed
    path.write_bytes(content)
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert check_integrity(layout, session_of(instance)) == ""


@pytest.mark.parametrize("name", [IN, OUT])
def test_header_with_an_impossible_protocol_is_damage(instance: Instance, name: str) -> None:
    """A flipped version number in the header is damage, not a later version: no host could open the session again."""
    have_conversation(instance)
    path = file_of(instance, name)
    with path.open("r+b") as file:
        file.seek(60)  # user_version, see https://www.sqlite.org/fileformat2.html
        file.write(b"\xa7\x31\x00\x01")
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert path.name in check_integrity(layout, session_of(instance))


def test_index_that_lost_a_row_is_damage(instance: Instance) -> None:
    """A runner never reads a pending message that the index lacks; only a full integrity check finds it."""
    have_conversation(instance)
    path = file_of(instance, IN)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA writable_schema = 1")
    text = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'messages_in_pending'").get
    db.execute(
        "UPDATE sqlite_schema SET sql = ? WHERE name = 'messages_in_pending'", (text.replace("pending'", "other'"),)
    )
    db.close()
    db = apsw.Connection(str(path))
    inbound.append(db, [pending_message("left-out")])
    db.execute("PRAGMA writable_schema = 1")
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'messages_in_pending'", (text,))
    db.close()
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert "messages_in_pending" in check_integrity(layout, session_of(instance))


@pytest.mark.invariant(number=4)
def test_damage_that_hides_a_message_is_found_at_start(instance: Instance) -> None:
    """The waiting message has an impossible status: nothing fails, but no runner reads it and people are not told."""

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


def make_agent_shared_session(tmp_path: Path, rooms: int, *, answered: int, ids: bool) -> Instance:
    """Make a session that several rooms share. The first rooms have an answer, the others wait when the host stops."""
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


def rooms_told(instance: Instance, count: int) -> list[str]:
    """Start a host, wait for `count` messages, and return the rooms that got a notice of the damage."""

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.texts(count)
            await running.host.components.queues.drained()
            return sorted(
                delivered.address.room
                for delivered in running.channel.delivered
                if delivered.message.text.startswith(TOLD)
            )

    return asyncio.run(scenario())


async def silent(_runner: FakeRunner) -> int:
    await asyncio.Event().wait()
    return 0


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("answered", [0, 1])
def test_damaged_inbound_db_is_told_to_each_room(tmp_path: Path, answered: int, ids: bool) -> None:
    """Several rooms share the session, and its waiting messages are lost: each room must send its own again (F10)."""
    instance = make_agent_shared_session(tmp_path, 3, answered=answered, ids=ids)
    fill_with_garbage(shared_file(instance, IN))
    assert rooms_told(instance, 3) == ["a0", "a1", "a2"]
    instance.db.close()


@pytest.mark.invariant(number=4)
def test_damaged_outbound_db_is_told_to_each_room(tmp_path: Path) -> None:
    """Each room that shares the session reads once that its conversation starts afresh."""
    instance = make_agent_shared_session(tmp_path, 3, answered=1, ids=True)
    fill_with_garbage(shared_file(instance, OUT))
    assert rooms_told(instance, 3) == ["a0", "a1", "a2"]
    instance.db.close()


def test_damage_is_told_to_a_bounded_number_of_rooms(tmp_path: Path) -> None:
    """A session of hundreds of rooms must not make the host flood its channels."""
    instance = make_agent_shared_session(tmp_path, MAX_NOTICE_ROOMS + 3, answered=0, ids=True)
    fill_with_garbage(shared_file(instance, IN))
    assert len(rooms_told(instance, MAX_NOTICE_ROOMS)) == MAX_NOTICE_ROOMS
    instance.db.close()


def test_each_room_reads_the_fate_of_its_own_messages(tmp_path: Path) -> None:
    """One room waits for its answer and another has it: only the first reads that it will get one."""
    instance = make_agent_shared_session(tmp_path, 2, answered=1, ids=True)
    fill_with_garbage(shared_file(instance, OUT))

    async def scenario() -> dict[str, str]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.texts(2)
            return {delivered.address.room: delivered.message.text for delivered in running.channel.delivered}

    texts = asyncio.run(scenario())
    assert "I will still answer" not in texts["a0"]
    assert "I will still answer" in texts["a1"]
    instance.db.close()
