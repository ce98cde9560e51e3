"""Tests of a real runner process with the mock provider; the host only reads and writes the session's files."""

import asyncio
import json
from typing import Any

import pytest
from nanoclaw_runner.pending_prompts import SilenceTimeouts
from nanoclaw_runner.testing import FAMILY, HostSide, said
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire import inbound
from nanoclaw_wire.inbound import Destination, Kind
from nanoclaw_wire.outbound import AckStatus, Activity

ECHO = {"echo": "true"}


def script(*steps: dict[str, Any], **options: str) -> dict[str, str]:
    return {"script": json.dumps(steps), **options}


def test_reply_goes_to_the_messages_conversation(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            message = host.say("hello", thread="t1")
            [reply] = await host.replies(1)
            assert ("chat", "r1", "t1", message) == (reply.channel, reply.room, reply.thread, reply.in_reply_to)
            assert said(reply) == "hello"
            assert reply.seq % 2 == 1
            assert await host.settled(message) == [AckStatus.COMPLETED]

    asyncio.run(run())


def test_answers_are_sent_while_messages_wait(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO, max_messages_per_prompt=1) as host:
            messages = [host.say(str(number)) for number in range(60)]
            await host.start()
            await host.settled(*messages)
            order = [line["event"] for line in host.log() if line["event"] in ("message pushed", "turn ended")]
            second_answer = order.index("turn ended", order.index("turn ended") + 1)
            assert "message pushed" in order[second_answer:]

    asyncio.run(run())


def test_runner_without_a_doorbell_polls(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO, with_bell=False) as host:
            await host.start()
            await host.settled(host.say("one"))
            await host.settled(host.say("two"))
            assert [said(reply) for reply in host.sent()] == ["one", "two"]

    asyncio.run(run())


def test_two_messages_make_one_prompt(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "got {prompt}"})) as host:
            host.put_all([host.row('{"text": "a"}'), host.row('{"text": "b"}')])
            await host.start()
            [reply] = await host.replies(1)
            assert said(reply).count("<messages>") == 1

    asyncio.run(run())


@pytest.mark.defect(number=7)
def test_burst_is_answered_at_once_and_in_order(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "{prompt}", "times": None})) as host:
            ids = host.put_all([host.row(json.dumps({"text": f"word-{n:02}"})) for n in range(25)])
            await host.start()
            await host.settled(*ids)
            prompts = [said(reply) for reply in host.sent()]
            assert [prompt.count("word-") for prompt in prompts] == [10, 10, 5]
            words = "".join(prompts)
            positions = [words.index(f"word-{n:02}") for n in range(25)]
            assert sorted(positions) == positions

    asyncio.run(run())


@pytest.mark.defect(number=7)
def test_much_context_does_not_hide_a_message(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "{prompt}"})) as host:
            context = [host.row(json.dumps({"text": f"chatter-{n}"}), trigger=False) for n in range(700)]
            ids = host.put_all([*context, host.row('{"text": "what did we say?"}')])
            await host.start()
            await host.settled(*ids)
            [reply] = host.sent()
            assert "what did we say?" in said(reply)
            assert 'left_out="691"' in said(reply)
            assert [name for name in ("chatter-691", "chatter-699") if name in said(reply)] == [
                "chatter-691",
                "chatter-699",
            ]

    asyncio.run(run())


@pytest.mark.defect(number=4)
def test_context_alone_is_not_pushed_into_an_open_query(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "{prompt}", "times": None})) as host:
            await host.start()
            await host.settled(host.say("first"))
            context = host.say("just talking", trigger=False)
            await host.settled(host.say("/stop"))  # answered in the poll that also read the context
            await host.settled(host.say("second"))
            assert [said(row) for row in host.sent()[1:2]] == ["Nothing is running."]
            assert len(host.sent()) == 3
            assert "just talking" in said(host.sent()[2])
            assert await host.settled(context) == [AckStatus.COMPLETED]

    asyncio.run(run())


@pytest.mark.defect(number=11)
def test_later_turn_answers_its_own_thread(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            for thread in ("t1", "t2"):
                await host.settled(host.say("hi", thread=thread))
            assert [(reply.thread, reply.in_reply_to) for reply in host.sent()] == [("t1", "in-1"), ("t2", "in-2")]

    asyncio.run(run())


@pytest.mark.defect(number=11)
def test_reply_goes_to_the_earlier_of_two_threads(tmp_path):
    """The second message comes while the turn of the first runs."""

    async def run():
        steps = ({"match": "slow", "reply": "slow one", "delay_s": 0.5}, {"reply": "quick one"})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            first = host.say("slow", thread="t1")
            await host.until(lambda: first in host.acknowledged())
            host.say("quick", thread="t2")
            replies = await host.replies(2)
            assert [(said(reply), reply.thread) for reply in replies] == [("slow one", "t1"), ("quick one", "t2")]

    asyncio.run(run())


def test_reply_to_a_silent_room_has_no_thread(tmp_path):
    async def run():
        step = {"text": '<message to="work">x</message>'}
        async with HostSide(tmp_path, options=script(step)) as host:
            await host.start()
            message = host.say("tell work", thread="t1")
            [reply] = await host.replies(1)
            assert ("r2", None, message) == (reply.room, reply.thread, reply.in_reply_to)

    asyncio.run(run())


def test_reply_to_another_room_answers_its_newest_message(tmp_path):
    async def run():
        step = {"match": "tell", "text": '<message to="work">x</message><message to="peer">y</message>'}
        async with HostSide(tmp_path, options=script({"match": "old"}, step)) as host:
            await host.start()
            old = host.say("old", room="r2", thread="w1")
            await host.settled(old)
            host.say("tell")
            to_work, to_peer = await host.replies(2)
            assert ("w1", old) == (to_work.thread, to_work.in_reply_to)
            assert (to_peer.channel, to_peer.room, to_peer.thread) == ("agent", "ag-peer", None)

    asyncio.run(run())


def test_unknown_destination_is_dropped(tmp_path):
    async def run():
        step = {"text": '<message to="stranger">a</message> <internal>hm</internal> <message to="family">b</message>'}
        async with HostSide(tmp_path, options=script(step)) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert [said(reply) for reply in host.sent()] == ["b"]

    asyncio.run(run())


def test_bare_text_is_corrected_once_and_not_sent(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"text": "bare", "times": None})) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert host.sent() == []
            await host.stop()  # then its log is complete
            assert [line["event"] for line in host.log()].count("turn delivered nothing") == 1

    asyncio.run(run())


def test_corrected_turn_answers_its_first_message(tmp_path):
    async def run():
        steps = ({"text": "bare"}, {"match": "^<system>", "text": '<message to="family">wrapped</message>'})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            message = host.say("x")
            [reply] = await host.replies(1)
            assert ("wrapped", message) == (said(reply), reply.in_reply_to)
            assert await host.settled(message) == [AckStatus.COMPLETED]

    asyncio.run(run())


@pytest.mark.defect(number=10)
def test_turn_with_a_tools_message_is_not_corrected(tmp_path):
    async def run():
        tool = {"name": "send_message", "arguments": {"text": "on it"}}
        steps = ({"tools": [tool], "text": "bare", "progress": "compacted"}, {"match": "^<system>", "reply": "oh"})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert [said(reply) for reply in host.sent()] == ["on it"]

    asyncio.run(run())


@pytest.mark.defect(number=6)
def test_message_pushed_into_a_turn_survives_a_crash(tmp_path):
    async def run():
        steps = (
            {"match": "first", "reply": "one", "delay_s": 0.5},
            {"match": "second", "crash": 9},
            {"match": "second", "reply": "two"},
        )
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            first = host.say("first")
            await host.until(lambda: first in host.acknowledged())
            second = host.say("second")
            assert await host.exit_code() == 9
            assert {first: AckStatus.COMPLETED, second: AckStatus.PROCESSING} == host.acknowledged()
            await host.start()
            assert await host.settled(second) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["one", "two"]

    asyncio.run(run())


@pytest.mark.defect(number=6)
def test_message_that_joins_at_a_tool_is_completed(tmp_path):
    async def run():
        tool = {"name": "Bash", "delay_s": 0.5, "timeout_s": 30}
        timeouts = Timeouts(silence=SilenceTimeouts(idle_s=0.1))
        async with (
            HostSide(tmp_path, options=script({"tools": [tool], "reply": "{prompt}"})) as host,
            host.running(timeouts=timeouts),
        ):
            first = host.say("first")
            await host.until(lambda: host.doing("tool") == "Bash")
            second = host.say("second")
            assert await host.settled(first, second) == [AckStatus.COMPLETED, AckStatus.COMPLETED]
            [reply] = host.sent()
            assert "first" in said(reply)
            assert "second" in said(reply)
            await host.until(lambda: host.doing("activity") is Activity.IDLE)

    asyncio.run(run())


def test_reply_and_acknowledgement_are_one_transaction(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            message = host.say("x")
            await host.replies(1)
            assert AckStatus.COMPLETED is host.acknowledged()[message]

    asyncio.run(run())


def test_task_and_chat_make_one_prompt(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "{prompt}"})) as host:
            host.put_all([host.row('{"prompt": "water"}', kind=Kind.TASK), host.row('{"text": "hi"}')])
            await host.start()
            [reply] = await host.replies(1)
            assert "<task " in said(reply)
            assert "‹message " in said(reply)

    asyncio.run(run())


@pytest.mark.defect(number=41)
def test_row_that_is_not_an_object_fails_alone(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            host.inbound.pragma("ignore_check_constraints", True)
            broken = host.put("null")
            fine = host.say("hello")
            await host.start()
            assert await host.settled(broken, fine) == [AckStatus.FAILED, AckStatus.COMPLETED]
            assert await host.logged("inbound row is not a JSON object")

    asyncio.run(run())


@pytest.mark.defect(number=58)
def test_message_with_junk_is_answered(tmp_path):
    async def run():
        junk = {"text": {"a": [1]}, "sender": 7, "attachments": [None, {"name": 3}], "reply_to": "x"}
        async with HostSide(tmp_path, options=script({"reply": "fine"})) as host:
            await host.start()
            await host.settled(host.put(json.dumps(junk)))
            assert [said(reply) for reply in host.sent()] == ["fine"]

    asyncio.run(run())


def test_conversation_continues_in_the_next_sandbox(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "turn {turn}", "times": None})) as host:
            for _ in range(2):
                await host.start()
                await host.settled(host.say("x"))
                assert await host.stop() == 0
            assert [said(reply) for reply in host.sent()] == ["turn 1", "turn 2"]

    asyncio.run(run())


def test_lost_conversation_starts_anew_silently(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script({"reply": "turn {turn}", "times": None})) as host:
            await host.start()
            await host.settled(host.say("x"))
            await host.stop()
            for path in (host.files.state / "mock").glob("mock-session-*"):
                path.unlink()
            await host.start()
            assert await host.settled(host.say("y")) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["turn 1", "turn 1"]

    asyncio.run(run())


def test_inbox_forgets_settled_rows_and_repeats_none(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            for _ in range(4):
                ids = host.put_all([host.row('{"text": "x"}', kind=Kind.TASK) for _ in range(50)])
                await host.settled(*ids)
                host.note_acknowledged()
            assert len(host.sent()) == 20

    asyncio.run(run())


def test_changed_destinations_are_known_in_the_next_turn(tmp_path):
    async def run():
        step = {"text": '<message to="new">x</message>', "times": None}
        async with HostSide(tmp_path, destinations=[FAMILY], options=script(step)) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert host.sent() == []
            new = Destination(name="new", kind="channel", channel="chat", room="r7")
            inbound.set_destinations(host.inbound, [FAMILY, new])
            host.say("y")
            [reply] = await host.replies(1)
            assert reply.room == "r7"

    asyncio.run(run())
