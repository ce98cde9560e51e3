"""Tests of slash commands with a real runner."""

import asyncio
import json

import pytest
from nanoclaw_runner.testing import HostSide, said
from nanoclaw_wire import outbound
from nanoclaw_wire.outbound import AckStatus


def script(*steps, **options):
    return {"script": json.dumps(steps), **options}


def test_clear_forgets_the_conversation(tmp_path):
    """The model is not asked."""

    async def run():
        async with HostSide(tmp_path, options=script({"reply": "turn {turn}", "times": None})) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert host.read(lambda db: outbound.state(db, "continuation:mock"))
            command = host.say("/clear", thread="t1")
            await host.settled(command)
            assert not host.read(lambda db: outbound.state(db, "continuation:mock"))
            await host.settled(host.say("y"))
            assert [said(reply) for reply in host.sent()] == ["turn 1", "Session cleared.", "turn 1"]
            assert (host.sent()[1].thread, host.sent()[1].in_reply_to) == ("t1", command)

    asyncio.run(run())


@pytest.mark.defect(number=46)
def test_clear_as_prefix_or_from_an_agent_reaches_the_model(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"echo": "true"}) as host:
            await host.start()
            await host.settled(host.say("/clearance sale"))
            await host.settled(host.say("/clear", channel="agent", room="ag-peer"))
            assert [said(reply) for reply in host.sent()] == ["/clearance sale", "/clear"]

    asyncio.run(run())


def test_stop_interrupts_the_turn_and_keeps_the_query(tmp_path):
    async def run():
        steps = ({"match": "long", "reply": "never", "delay_s": 600}, {"reply": "turn {turn}"})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            long = host.say("long")
            await host.until(lambda: long in host.acknowledged())
            stop = host.say("/stop")
            assert await host.settled(long, stop) == [AckStatus.COMPLETED, AckStatus.COMPLETED]
            await host.settled(host.say("next"))
            assert [said(reply) for reply in host.sent()] == ["Stopped.", "turn 2"]

    asyncio.run(run())


def test_stop_without_a_turn_answers_that_nothing_runs(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"echo": "true"}) as host:
            await host.start()
            await host.settled(host.say("/stop"))
            await host.settled(host.say("x"))
            await host.settled(host.say("/STOP please"))
            nothing = "Nothing is running."
            assert [said(reply) for reply in host.sent()] == [nothing, "x", nothing]

    asyncio.run(run())


def test_raw_command_during_a_turn_begins_the_next_query(tmp_path):
    async def run():
        steps = ({"match": "slow", "reply": "slow", "delay_s": 0.3}, {"text": "[{prompt}]", "times": None})
        async with HostSide(tmp_path, options=script(*steps, slash_commands="true")) as host:
            await host.start()
            slow = host.say("slow")
            await host.until(lambda: slow in host.acknowledged())
            command = host.say("/cost now")
            await host.settled(slow, command)
            assert [said(reply) for reply in host.sent()] == ["slow", "[/cost now]"]
            assert host.sent()[1].in_reply_to == command

    asyncio.run(run())


def test_message_after_a_raw_command_follows_it(tmp_path):
    async def run():
        steps = ({"match": "^/", "text": "raw"}, {"reply": "chat"})
        async with HostSide(tmp_path, options=script(*steps, slash_commands="true")) as host:
            await host.start()
            await host.settled(*host.put_all([host.row('{"text": "/compact"}'), host.row('{"text": "hi"}')]))
            assert [said(reply) for reply in host.sent()] == ["raw", "chat"]

    asyncio.run(run())


@pytest.mark.parametrize("word", ["/new", "/reset", "/model haiku", "/review", "/etc/hosts is fine"])
def test_other_word_with_a_slash_is_a_text(tmp_path, word):
    """The host checks no right for it, and a program has more commands and aliases than a list could name."""

    async def run():
        steps = ({"match": "^/", "reply": "raw"}, {"match": "<message ", "reply": "a text"})
        async with HostSide(tmp_path, options=script(*steps, slash_commands="true")) as host:
            await host.start()
            await host.settled(host.say(word))
            assert [said(reply) for reply in host.sent()] == ["a text"]

    asyncio.run(run())


def test_raw_command_without_output_is_answered(tmp_path):
    async def run():
        steps = ({"match": "^/", "text": ""}, {"reply": "chat"})
        async with HostSide(tmp_path, options=script(*steps, slash_commands="true")) as host:
            await host.start()
            await host.settled(host.say("/compact"))
            assert [said(reply) for reply in host.sent()] == ["Done."]

    asyncio.run(run())
