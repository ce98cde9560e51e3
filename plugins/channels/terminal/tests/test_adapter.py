"""The host's end of the terminal's socket."""

from __future__ import annotations

import asyncio
import socket
import stat

import pytest
from nanoclaw_channel_terminal.frames import TransferredFile

from nanoclaw_core import Address, Card, CardOption, DeliveryRefused, Outbound, OutboundFile, Outcome, Receipt

CARD = Card(
    id="q1", title="Deploy?", options=[CardOption(label="Yes", value="yes!"), CardOption(label="No", value="no!")]
)


def test_socket_is_private_to_its_owner(channel):
    async def scenario():
        async with channel.open():
            return stat.S_IMODE((channel.home / "run" / "terminal.sock").stat().st_mode)

    assert asyncio.run(scenario()) == 0o600


def test_socket_is_removed_after_stop(channel):
    async def scenario():
        async with channel.open():
            pass

    asyncio.run(scenario())
    assert not (channel.home / "run" / "terminal.sock").exists()


def test_socket_of_a_dead_host_is_replaced(channel, until):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(channel.home / "run" / "terminal.sock"))

    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            return await until(terminal, "ready")

    assert asyncio.run(scenario())["type"] == "ready"


def test_socket_works_below_a_long_path(make_channel, tmp_path, until):
    channel = make_channel(tmp_path / ("long" * 40))

    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            return await until(terminal, "ready")

    assert asyncio.run(scenario())["type"] == "ready"


def test_say_reaches_the_core_as_a_mention(channel, until):
    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            message_id = await terminal.say("hello")
            accepted = await until(terminal, "accepted")
            return message_id, accepted

    message_id, accepted = asyncio.run(scenario())
    (message,) = channel.received
    assert (message.room, message.sender, message.sender_name, message.text) == ("local", "operator", "ada", "hello")
    assert (message.is_mention, message.is_group, message.message_id) == (True, False, message_id)
    assert (accepted["id"], accepted["outcome"]) == (message_id, "routed")


def test_say_rejected_by_the_core_returns_the_reason(channel, until):
    channel.answer = lambda _message: Receipt(outcome=Outcome.DROPPED, correlation_id="c1", reason="no agent is wired")

    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            await terminal.say("hello")
            return await until(terminal, "accepted")

    frame = asyncio.run(scenario())
    assert (frame["outcome"], frame["reason"]) == ("dropped", "no agent is wired")


def test_say_failure_of_the_core_keeps_the_terminal(channel, until):
    def fail(message):
        if message.text == "first":
            raise OSError("disk full")

    channel.answer = fail

    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            await terminal.say("first")
            first = await until(terminal, "accepted")
            await terminal.say("second")
            return first, await until(terminal, "accepted")

    first, second = asyncio.run(scenario())
    assert (first["outcome"], first["reason"], second["outcome"]) == (
        "failed",
        "the host failed; `ncl logs` shows why",
        "routed",
    )


def test_deliver_shows_a_message_on_every_terminal(channel, until):
    async def scenario():
        async with channel.open(), channel.terminal() as first, channel.terminal() as other:
            await until(first, "ready")
            await until(other, "ready")
            delivering = channel.send("k1", "good morning")
            shown = [await until(first, "message"), await until(other, "message")]
            await first.seen("k1")
            return await delivering, [frame["text"] for frame in shown], channel.undelivered()

    assert asyncio.run(scenario()) == ("k1", ["good morning", "good morning"], [])


def test_say_is_shown_on_the_other_terminals(channel, until):
    async def scenario():
        async with channel.open(), channel.terminal() as first, channel.terminal() as other:
            await until(other, "ready")
            await first.say("it was me")
            return await until(other, "said")

    assert asyncio.run(scenario())["text"] == "it was me"


@pytest.mark.defect(number=23)
def test_deliver_without_terminal_is_shown_at_next_attach(channel, until):
    async def scenario():
        async with channel.open():
            await channel.send("k1", "first")
            await channel.send("k2", "second")
            async with channel.terminal() as terminal:
                shown = [await until(terminal, "message"), await until(terminal, "message")]
                for frame in shown:
                    await terminal.seen(frame["id"])
                await terminal.say("thanks")  # frames are handled in order, so both notices arrived before
                await until(terminal, "accepted")
            return [(frame["text"], frame["is_kept"]) for frame in shown], channel.undelivered()

    assert asyncio.run(scenario()) == ([("first", True), ("second", True)], [])


@pytest.mark.defect(number=23)
def test_deliver_stored_message_survives_a_restart(make_channel, tmp_path, until):
    async def before():
        channel = make_channel(tmp_path)
        async with channel.open():
            await channel.send("k1", "still here")

    async def after():
        channel = make_channel(tmp_path)
        async with channel.open(), channel.terminal() as terminal:
            return (await until(terminal, "message"))["text"]

    asyncio.run(before())
    assert asyncio.run(after()) == "still here"


@pytest.mark.defect(number=23)
def test_deliver_to_a_dying_terminal_stores_the_message(channel, until):
    async def scenario():
        async with channel.open():
            async with channel.terminal() as terminal:
                await until(terminal, "ready")
                delivering = channel.send("k1", "did you see this?")
                await until(terminal, "message")
            await delivering
            return channel.undelivered()

    assert asyncio.run(scenario()) == ["did you see this?"]


def test_deliver_retry_of_a_stored_message_is_stored_once(channel):
    async def scenario():
        async with channel.open():
            await channel.send("k1", "once")
            await channel.send("k1", "once")
            return channel.undelivered()

    assert asyncio.run(scenario()) == ["once"]


def test_invalid_frame_gets_an_error_and_the_next_works(channel, until):
    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            answers = []
            for line in (b"nonsense\n", b"[]\n", b'{"type":"say","id":"a","text":7}\n', b'{"type":"dance","id":"a"}\n'):
                terminal._writer.write(line)
                answers.append((await until(terminal, "error"))["message"])
            await terminal.say("hello")
            await until(terminal, "accepted")
            return answers

    answers = asyncio.run(scenario())
    assert all(answer.startswith("bad frame: ") for answer in answers)
    assert "got 'dance'" in answers[-1]


def test_line_over_the_limit_gets_an_error_before_the_end(channel, until):
    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            terminal._writer.write(b"x" * 3_000_000 + b"\n")
            return (await until(terminal, "error"))["message"]

    assert "Send smaller files" in asyncio.run(scenario())


def test_files_reach_the_core_and_the_terminal(channel, until):
    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            await terminal.say("look", [TransferredFile(name="a.png", content=b"\x89PNG", mime_type="image/png")])
            await until(terminal, "accepted")
            delivering = channel.send("k1", files=[OutboundFile(name="b.bin", content=b"\x00\xff")])
            frame = await until(terminal, "message")
            await terminal.seen("k1")
            await delivering
            return frame["files"]

    files = asyncio.run(scenario())
    (attachment,) = channel.received[0].attachments
    assert (attachment.name, attachment.kind, attachment.content) == ("a.png", "image", b"\x89PNG")
    assert files == [{"name": "b.bin", "content": "AP8="}]


def test_message_with_files_names_its_session(channel, until):
    """The terminal saves files by session.

    The core's record of the message names the session.
    """
    channel.queue("k1", "ses-0123456789ab")

    async def scenario():
        async with channel.open(), channel.terminal() as terminal:
            await until(terminal, "ready")
            channel.send("k1", files=[OutboundFile(name="b.bin", content=b"b")])
            frame = await until(terminal, "message")
            await terminal.seen("k1")
            return frame["session"]

    assert asyncio.run(scenario()) == "ses-0123456789ab"


def test_deliver_refuses_a_message_larger_than_a_line(channel):
    async def scenario():
        async with channel.open():
            await channel.send("k1", files=[OutboundFile(name="b.bin", content=bytes(2_000_000))])

    with pytest.raises(DeliveryRefused, match="accepts 1000000 bytes"):
        asyncio.run(scenario())


def test_deliver_refuses_another_room(channel):
    async def scenario():
        async with channel.open():
            await channel.adapter.deliver(
                Address("terminal", "elsewhere"), Outbound(idempotency_key="k1", text="hello")
            )

    with pytest.raises(DeliveryRefused, match="only has 'local', got 'elsewhere'"):
        asyncio.run(scenario())


@pytest.mark.parametrize(("typed", "received"), [("2", "no!"), (" 1 ", "yes!"), ("3", "3"), ("0", "0"), ("yes", "yes")])
def test_say_number_of_a_choice_becomes_its_value(channel, until, typed, received):
    async def scenario():
        async with channel.open():
            await channel.send("k1", card=CARD)
            async with channel.terminal() as terminal:
                await terminal.say(typed)
                await until(terminal, "accepted")

    asyncio.run(scenario())
    assert [message.text for message in channel.received] == [received]


def test_say_second_number_after_a_card_is_plain_text(channel, until):
    async def scenario():
        async with channel.open():
            await channel.send("k1", card=CARD)
            async with channel.terminal() as terminal:
                for _ in range(2):
                    await terminal.say("1")
                    await until(terminal, "accepted")

    asyncio.run(scenario())
    assert [message.text for message in channel.received] == ["yes!", "1"]


def test_status_reaches_attached_and_later_terminals(channel, until):
    room = Address("terminal", "local")

    async def scenario():
        async with channel.open(), channel.terminal() as first:
            await until(first, "ready")
            await channel.adapter.show_status(room, "starting a sandbox")
            await channel.adapter.show_typing(room)
            async with channel.terminal() as other:
                return await until(first, "status"), await until(first, "typing"), await until(other, "ready")

    status, typing, ready = asyncio.run(scenario())
    assert (status["text"], typing["type"], ready["status"]) == ("starting a sandbox", "typing", "starting a sandbox")
