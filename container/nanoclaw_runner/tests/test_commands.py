"""Slash commands against a real runner."""

import asyncio
import json

from nanoclaw_runner.testing import HostSide, said
from nanoclaw_wire import outbound
from nanoclaw_wire.outbound import AckStatus


def script(*steps, **options):
    return {"script": json.dumps(steps), **options}


def test_clear_forgets_the_conversation_without_asking_the_model(tmp_path):
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


def test_warning_46_a_word_that_begins_with_clear_is_told_to_the_model(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"echo": "true"}) as host:
            await host.start()
            await host.settled(host.say("/clearance sale"))
            await host.settled(host.say("/clear", channel="agent", room="ag-peer"))
            assert [said(reply) for reply in host.sent()] == ["/clearance sale", "/clear"]

    asyncio.run(run())


def test_stop_interrupts_the_turn_and_keeps_the_conversation_open(tmp_path):
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


def test_stop_says_so_where_nothing_runs(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"echo": "true"}) as host:
            await host.start()
            await host.settled(host.say("/stop"))
            await host.settled(host.say("x"))
            await host.settled(host.say("/STOP please"))
            nothing = "Nothing is running."
            assert [said(reply) for reply in host.sent()] == [nothing, "x", nothing]

    asyncio.run(run())


def test_a_raw_command_waits_for_the_turn_and_is_the_first_input_of_the_next_query(tmp_path):
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


def test_messages_after_a_raw_command_come_after_it(tmp_path):
    async def run():
        steps = ({"match": "^/", "text": "raw"}, {"reply": "chat"})
        async with HostSide(tmp_path, options=script(*steps, slash_commands="true")) as host:
            await host.start()
            await host.settled(*host.put_all([host.row('{"text": "/compact"}'), host.row('{"text": "hi"}')]))
            assert [said(reply) for reply in host.sent()] == ["raw", "chat"]

    asyncio.run(run())
