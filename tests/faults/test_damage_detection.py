"""Damage that is hard to see: schemas, headers, indexes, links and hidden rows."""

import asyncio
import re

import apsw
import pytest
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import Kind, NewInbound
from session_damage import IN, OUT, TOLD, file_of, have_conversation, session_of

from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.integrity import check_integrity
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, quarantined_sessions
from nanoclaw_core.testing.scripted import ScriptedRuntime, silent


def pending_message(message_id: str) -> NewInbound:
    return NewInbound(id=message_id, kind=Kind.CHAT, at=clock.now_text(), content='{"text": "hi"}')


def test_file_that_no_runner_repairs_is_quarantined(instance: Instance) -> None:
    """The journal is a directory: every runner fails to open its file.

    The host must not repair it.
    """
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
    outside = instance.paths.home / "outside"
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
    assert quarantined_sessions(instance.paths.home / "sessions") == []


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
    """A flipped version number in the header is damage, not a later version.

    No host could open the session again.
    """
    have_conversation(instance)
    path = file_of(instance, name)
    with path.open("r+b") as file:
        file.seek(60)  # user_version, see https://www.sqlite.org/fileformat2.html
        file.write(b"\xa7\x31\x00\x01")
    layout = SessionDirectories(path.parent.parent.parent).layout(session_of(instance).id)
    assert path.name in check_integrity(layout, session_of(instance))


def test_index_that_lost_a_row_is_damage(instance: Instance) -> None:
    """A runner never reads a pending message that the index lacks.

    Only a full integrity check finds it.
    """
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
    """The waiting message has an impossible status.

    Nothing fails, but no runner reads it and people are not told.
    """

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
