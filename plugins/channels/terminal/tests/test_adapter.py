"""The host's end of the terminal's socket."""

from __future__ import annotations

import asyncio
import socket
import stat

import pytest

from nanoclaw_core import Address, Card, CardOption, DeliveryRefused, Outbound, OutboundFile, Outcome, Receipt

CARD = Card(
    id="q1", title="Deploy?", options=[CardOption(label="Yes", value="yes!"), CardOption(label="No", value="no!")]
)


def test_the_socket_is_for_its_owner_alone(stage):
    async def scene():
        async with stage.open():
            return stat.S_IMODE((stage.home / "run" / "terminal.sock").stat().st_mode)

    assert asyncio.run(scene()) == 0o600


def test_the_socket_is_gone_after_the_channel_stopped(stage):
    async def scene():
        async with stage.open():
            pass

    asyncio.run(scene())
    assert not (stage.home / "run" / "terminal.sock").exists()


def test_a_socket_that_a_dead_host_left_is_replaced(stage, until):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stage.home / "run" / "terminal.sock"))

    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            return await until(terminal, "ready")

    assert asyncio.run(scene())["type"] == "ready"


def test_an_instance_directory_with_a_long_path_works(make_stage, tmp_path, until):
    stage = make_stage(tmp_path / ("long" * 40))

    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            return await until(terminal, "ready")

    assert asyncio.run(scene())["type"] == "ready"


def test_what_the_operator_says_reaches_the_core_as_a_mention_in_the_one_room(stage, until):
    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            said = await terminal.say("hello")
            accepted = await until(terminal, "accepted")
            return said, accepted

    said, accepted = asyncio.run(scene())
    (message,) = stage.received
    assert (message.room, message.sender, message.sender_name, message.text) == ("local", "operator", "ada", "hello")
    assert (message.is_mention, message.is_group, message.message_id) == (True, False, said)
    assert (accepted["id"], accepted["outcome"]) == (said, "routed")


def test_a_message_that_the_core_turns_down_comes_back_with_the_reason(stage, until):
    stage.answer = lambda _message: Receipt(outcome=Outcome.DROPPED, correlation_id="c1", reason="nobody is wired")

    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            await terminal.say("hello")
            return await until(terminal, "accepted")

    frame = asyncio.run(scene())
    assert (frame["outcome"], frame["reason"]) == ("dropped", "nobody is wired")


def test_a_failure_of_the_core_is_told_and_the_terminal_stays(stage, until):
    def fail(message):
        if message.text == "first":
            raise OSError("disk full")

    stage.answer = fail

    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            await terminal.say("first")
            first = await until(terminal, "accepted")
            await terminal.say("second")
            return first, await until(terminal, "accepted")

    first, second = asyncio.run(scene())
    assert (first["outcome"], first["reason"], second["outcome"]) == (
        "failed",
        "the host failed; `ncl logs` says why",
        "routed",
    )


def test_a_message_is_shown_to_every_attached_terminal(stage, until):
    async def scene():
        async with stage.open(), stage.terminal() as one, stage.terminal() as other:
            await until(one, "ready")
            await until(other, "ready")
            delivering = stage.send("k1", "good morning")
            shown = [await until(one, "message"), await until(other, "message")]
            await one.seen("k1")
            return await delivering, [frame["text"] for frame in shown], stage.kept()

    assert asyncio.run(scene()) == ("k1", ["good morning", "good morning"], [])


def test_what_one_terminal_says_the_others_see(stage, until):
    async def scene():
        async with stage.open(), stage.terminal() as one, stage.terminal() as other:
            await until(other, "ready")
            await one.say("it was me")
            return await until(other, "said")

    assert asyncio.run(scene())["text"] == "it was me"


def test_warning_23_a_reply_with_nobody_attached_is_kept_and_shown_at_the_next_attach(stage, until):
    async def scene():
        async with stage.open():
            await stage.send("k1", "first")
            await stage.send("k2", "second")
            async with stage.terminal() as terminal:
                shown = [await until(terminal, "message"), await until(terminal, "message")]
                for frame in shown:
                    await terminal.seen(frame["id"])
                await terminal.say("thanks")  # frames are taken in order: after this both are known to be seen
                await until(terminal, "accepted")
            return [(frame["text"], frame["is_kept"]) for frame in shown], stage.kept()

    assert asyncio.run(scene()) == ([("first", True), ("second", True)], [])


def test_warning_23_what_is_kept_outlives_the_host(make_stage, tmp_path, until):
    async def before():
        stage = make_stage(tmp_path)
        async with stage.open():
            await stage.send("k1", "still here")

    async def after():
        stage = make_stage(tmp_path)
        async with stage.open(), stage.terminal() as terminal:
            return (await until(terminal, "message"))["text"]

    asyncio.run(before())
    assert asyncio.run(after()) == "still here"


def test_warning_23_a_terminal_that_dies_before_it_shows_a_message_loses_nothing(stage, until):
    async def scene():
        async with stage.open():
            async with stage.terminal() as terminal:
                await until(terminal, "ready")
                delivering = stage.send("k1", "did you see this?")
                await until(terminal, "message")
            await delivering
            return stage.kept()

    assert asyncio.run(scene()) == ["did you see this?"]


def test_a_second_attempt_of_a_kept_message_is_kept_once(stage):
    async def scene():
        async with stage.open():
            await stage.send("k1", "once")
            await stage.send("k1", "once")
            return stage.kept()

    assert asyncio.run(scene()) == ["once"]


def test_a_line_that_is_no_frame_is_answered_and_the_next_one_is_taken(stage, until):
    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            answers = []
            for line in (b"nonsense\n", b"[]\n", b'{"type":"say","id":"a","text":7}\n', b'{"type":"dance","id":"a"}\n'):
                terminal._writer.write(line)
                answers.append((await until(terminal, "error"))["message"])
            await terminal.say("hello")
            await until(terminal, "accepted")
            return answers

    answers = asyncio.run(scene())
    assert all(answer.startswith("bad frame: ") for answer in answers)
    assert "not 'dance'" in answers[-1]


def test_a_line_over_the_limit_is_answered_before_the_terminal_is_hung_up_on(stage, until):
    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            terminal._writer.write(b"x" * 3_000_000 + b"\n")
            return (await until(terminal, "error"))["message"]

    assert "send smaller files" in asyncio.run(scene())


def test_files_travel_both_ways(stage, until):
    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            from nanoclaw_channel_terminal.frames import File

            await terminal.say("look", [File(name="a.png", content=b"\x89PNG", mime_type="image/png")])
            await until(terminal, "accepted")
            delivering = stage.send("k1", files=[OutboundFile(name="b.bin", content=b"\x00\xff")])
            frame = await until(terminal, "message")
            await terminal.seen("k1")
            await delivering
            return frame["files"]

    files = asyncio.run(scene())
    (attachment,) = stage.received[0].attachments
    assert (attachment.name, attachment.kind, attachment.content) == ("a.png", "image", b"\x89PNG")
    assert files == [{"name": "b.bin", "content": "AP8="}]


def test_message_with_files_names_its_session(stage, until):
    """The terminal saves files by session, and learns the session from the core's record of the message."""
    stage.queue("k1", "ses-0123456789ab")

    async def scene():
        async with stage.open(), stage.terminal() as terminal:
            await until(terminal, "ready")
            stage.send("k1", files=[OutboundFile(name="b.bin", content=b"b")])
            frame = await until(terminal, "message")
            await terminal.seen("k1")
            return frame["session"]

    assert asyncio.run(scene()) == "ses-0123456789ab"


def test_a_message_larger_than_a_line_is_refused_for_good(stage):
    async def scene():
        async with stage.open():
            await stage.send("k1", files=[OutboundFile(name="b.bin", content=bytes(2_000_000))])

    with pytest.raises(DeliveryRefused, match="more than the 1000000"):
        asyncio.run(scene())


def test_another_room_is_refused_for_good(stage):
    async def scene():
        async with stage.open():
            await stage.adapter.deliver(Address("terminal", "elsewhere"), Outbound(idempotency_key="k1", text="hello"))

    with pytest.raises(DeliveryRefused, match="one room, 'local'"):
        asyncio.run(scene())


@pytest.mark.parametrize(("typed", "heard"), [("2", "no!"), (" 1 ", "yes!"), ("3", "3"), ("0", "0"), ("yes", "yes")])
def test_the_number_of_a_choice_says_its_value(stage, until, typed, heard):
    async def scene():
        async with stage.open():
            await stage.send("k1", card=CARD)
            async with stage.terminal() as terminal:
                await terminal.say(typed)
                await until(terminal, "accepted")

    asyncio.run(scene())
    assert [message.text for message in stage.received] == [heard]


def test_a_card_is_answered_once_and_after_that_a_number_is_a_number(stage, until):
    async def scene():
        async with stage.open():
            await stage.send("k1", card=CARD)
            async with stage.terminal() as terminal:
                for _ in range(2):
                    await terminal.say("1")
                    await until(terminal, "accepted")

    asyncio.run(scene())
    assert [message.text for message in stage.received] == ["yes!", "1"]


def test_terminals_are_told_what_is_being_waited_for_also_those_that_come_later(stage, until):
    room = Address("terminal", "local")

    async def scene():
        async with stage.open(), stage.terminal() as one:
            await until(one, "ready")
            await stage.adapter.show_status(room, "starting a sandbox")
            await stage.adapter.show_typing(room)
            async with stage.terminal() as other:
                return await until(one, "status"), await until(one, "typing"), await until(other, "ready")

    status, typing, ready = asyncio.run(scene())
    assert (status["text"], typing["type"], ready["status"]) == ("starting a sandbox", "typing", "starting a sandbox")
