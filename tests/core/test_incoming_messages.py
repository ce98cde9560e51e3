"""Messages from a platform: repetitions, malformed input, attachments, storage."""

import asyncio
import json

import pytest
from instance_state import stored_messages
from nanoclaw_wire import session_files
from nanoclaw_wire.inbound import InboundMessage

from nanoclaw_core import Attachment, Inbound, Outcome, Quoted, Receipt
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime, silent
from nanoclaw_core.timing import Timing


def test_repeated_platform_message_is_stored_once(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            for _ in range(2):
                await running.channel.say("hello", message_id="p-1")

    asyncio.run(scenario())
    assert len(stored_messages(instance, instance.sessions()[0])) == 1


@pytest.mark.defect(number=54)
def test_failed_attachment_does_not_lose_its_message(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("first", message_id="p-0")
            (session,) = instance.sessions()
            inbox = instance.paths.home / "sessions" / session.id / "in" / "inbox"
            inbox.rmdir()
            inbox.symlink_to(instance.paths.home / "nowhere")
            await running.channel.say("see", attachments=(Attachment(name="a.txt", content=b"x"),))

    asyncio.run(scenario())
    *_, last = stored_messages(instance, instance.sessions()[0])
    (described,) = json.loads(last.content)["attachments"]
    assert described["problem"] == "could not be stored"
    assert not (instance.paths.home / "nowhere").exists()


@pytest.mark.defect(number=54)
def test_long_file_name_is_shortened(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("see", attachments=(Attachment(name="ä" * 120 + ".txt", content=b"x"),))

    asyncio.run(scenario())
    (session,) = instance.sessions()
    (described,) = json.loads(stored_messages(instance, session)[0].content)["attachments"]
    path = instance.paths.home / "sessions" / session.id / "in" / described["path"]
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
    assert len(instance.sessions()) == 1


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


def test_lone_surrogates_in_a_quote_become_question_marks(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hi", quoted=Quoted(text="cut\ud83d"))

    asyncio.run(scenario())
    (message,) = stored_messages(instance, instance.sessions()[0])
    assert json.loads(message.content)["reply_to"]["text"] == "cut?"


def test_lone_surrogates_in_a_name_become_question_marks(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("hi", sender="ada", sender_name="Ada\ud83d")

    assert asyncio.run(scenario()).outcome is Outcome.ROUTED
    assert instance.db.execute("SELECT display_name FROM users").get == "Ada?"


@pytest.mark.invariant(number=3)
def test_accepted_message_is_durable(instance: Instance) -> None:
    async def scenario() -> list[InboundMessage]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hello")
            return stored_messages(instance, instance.sessions()[0])

    assert len(asyncio.run(scenario())) == 1


@pytest.mark.invariant(number=3)
def test_message_that_cannot_be_stored_is_not_accepted(instance: Instance) -> None:
    async def scenario() -> None:
        timing = Timing(inbox_lock_timeout_s=0.05)
        async with running_host(instance, runtime=ScriptedRuntime(silent), timing=timing) as running:
            await running.channel.say("hello")
            (session,) = instance.sessions()
            await until(lambda: running.runtime.sandboxes)
            path = instance.paths.home / "sessions" / session.id / "in" / "inbound.db"
            reader = session_files.open_readable(path)
            lock = reader.execute("BEGIN; SELECT * FROM messages_in")  # a sandbox can hold a read lock, too
            with pytest.raises(Exception, match="locked"):
                await running.channel.say("again")
            lock.close()
            reader.close()

    asyncio.run(scenario())
