"""Tests of the built-in tools, which the mock calls in a real runner process, and of a plugin's tools."""

import asyncio
import json

import pytest
from nanoclaw_runner.plugins import RunnerPlugins, load_installed
from nanoclaw_runner.provider import RunnerPlugin, Tool
from nanoclaw_runner.testing import FAMILY, HostSide, said
from nanoclaw_wire import inbound
from nanoclaw_wire.inbound import Kind
from nanoclaw_wire.outbound import AckStatus, OutKind


def calls(*tools, **step):
    names = [{"name": name, "arguments": arguments} for name, arguments in tools]
    return {"script": json.dumps([{"tools": names, "reply": "{results}", **step}])}


async def result_of(host):
    """Let the mock play its step, and return the results of its tools."""
    await host.start()
    await host.settled(host.say("go", thread="t1"))
    return said(host.sent()[-1])


def one_turn(tmp_path, options, **fields):
    async def run():
        async with HostSide(tmp_path, options=options, **fields) as host:
            return await result_of(host), host.sent()

    return asyncio.run(run())


@pytest.mark.defect(number=8)
def test_send_message_answers_the_running_turn(tmp_path):
    result, sent = one_turn(tmp_path, calls(("send_message", {"text": "on it"})))
    assert (said(sent[0]), sent[0].in_reply_to, sent[0].thread) == ("on it", "in-1", "t1")
    assert result == f"Message sent to family (id: {sent[0].seq})"


def test_send_message_to_a_name_reaches_it(tmp_path):
    result, sent = one_turn(tmp_path, calls(("send_message", {"text": "hi", "to": "peer"})))
    assert (sent[0].channel, sent[0].room, sent[0].thread) == ("agent", "ag-peer", None)
    assert result.startswith("Message sent to peer")


def test_send_message_unknown_name_lists_the_known(tmp_path):
    result, _sent = one_turn(tmp_path, calls(("send_message", {"text": "hi", "to": "mars"})))
    assert result == "Error: There is no destination 'mars'. Known names: family, peer, work."


def test_tools_empty_or_wrong_arguments_are_errors(tmp_path):
    tools = (("send_message", {"text": " "}), ("send_message", {"text": 3}), ("edit_message", {"message_id": "2"}))
    result, _sent = one_turn(tmp_path, calls(*tools))
    assert [line.split()[0] for line in result.splitlines()] == ["Error:"] * 3


def test_send_file_copies_into_the_outbox(tmp_path):
    async def run():
        options = calls(("send_file", {"path": "report.txt", "text": "here", "filename": "Report.txt"}))
        async with HostSide(tmp_path, options=options) as host:
            (host.workspace.agent / "report.txt").write_text("numbers", encoding="utf-8")
            result = await result_of(host)
            message = host.sent()[0]
            assert json.loads(message.content) == {"text": "here", "files": ["Report.txt"]}
            assert (host.files.outbox / message.id / "Report.txt").read_text(encoding="utf-8") == "numbers"
            assert result == f"File sent to family (id: {message.seq})"

    asyncio.run(run())


def test_send_file_missing_or_unsafe_name_is_an_error(tmp_path):
    tools = (("send_file", {"path": "nothing"}), ("send_file", {"path": "x", "filename": "../x"}))
    result, sent = one_turn(tmp_path, calls(*tools))
    assert [line.split()[0] for line in result.splitlines()] == ["Error:"] * 2
    assert len(sent) == 1


def test_edit_and_reaction_go_to_the_messages_room(tmp_path):
    tools = (
        ("send_message", {"text": "draft", "to": "work"}),
        ("edit_message", {"message_id": 3, "text": "final"}),
        ("add_reaction", {"message_id": 2, "emoji": "eyes"}),
        ("add_reaction", {"message_id": 40, "emoji": "eyes"}),
    )
    result, sent = one_turn(tmp_path, calls(*tools))
    assert (json.loads(sent[1].content), sent[1].room) == ({"operation": "edit", "text": "final", "seq": 3}, "r2")
    assert json.loads(sent[2].content) == {"operation": "reaction", "emoji": "eyes", "seq": 2}
    assert (sent[2].room, sent[2].thread) == ("r1", "t1")
    assert "There is no message 40" in result


def test_send_message_without_an_origin_uses_the_own_room(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=calls(("send_message", {"text": "done"}))) as host:
            await host.start()
            await host.settled(host.put('{"prompt": "x"}', kind=Kind.TASK, channel=None, room=None))
            assert host.sent()[0].room == "r1"

    asyncio.run(run())


@pytest.mark.defect(number=36)
def test_parallel_tools_get_distinct_numbers(tmp_path):
    async def run():
        async def burst(host):
            return [await asyncio.gather(*(host.send_message(f"m{n}", None) for n in range(20)))]

        async def run_tool(_arguments, host):
            return json.dumps(await burst(host))

        part = RunnerPlugin(
            name="burst",
            tools=lambda host: [
                Tool(name="burst", description="", parameters={}, run=lambda arguments: run_tool(arguments, host))
            ],
        )
        plugins = RunnerPlugins(loaded=(*load_installed().loaded, part))
        async with HostSide(tmp_path, options=calls(("burst", {}))) as host, host.running(plugins=plugins):
            await host.settled(host.say("x"))
            numbers = [message.seq for message in host.sent()]
            assert len(set(numbers)) == 21
            assert all(number % 2 for number in numbers)

    asyncio.run(run())


def asking(timeout_s):
    def tools(host):
        async def run(_arguments):
            request_id = await host.request("add", {"a": 1})
            return json.dumps(await host.answer(request_id, timeout_s))

        return [Tool(name="ask", description="", parameters={}, run=run)]

    return RunnerPlugins(loaded=(*load_installed().loaded, RunnerPlugin(name="asking", tools=tools)))


def test_request_waits_for_the_answer_and_settles_it(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=calls(("ask", {}))) as host, host.running(plugins=asking(30)):
            host.say("x")
            [action] = await host.replies(1)
            asked = json.loads(action.content)
            assert (action.kind, asked["action"], asked["arguments"]) == (OutKind.ACTION, "add", {"a": 1})
            answer = json.dumps({"type": "answer", "request_id": asked["request_id"], "sum": 2})
            row = host.put(answer, kind=Kind.SYSTEM, channel=None, room=None)
            assert await host.settled(row) == [AckStatus.COMPLETED]
            assert json.loads(said((await host.replies(2))[1]))["sum"] == 2

    asyncio.run(run())


@pytest.mark.defect(number=28)
def test_late_answer_is_settled_without_a_turn(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=calls(("ask", {}))) as host, host.running(plugins=asking(0.05)):
            await host.settled(host.say("x"))
            assert "No answer came" in said(host.sent()[-1])
            late = host.put('{"type": "answer", "request_id": "req-gone"}', kind=Kind.SYSTEM, channel=None, room=None)
            assert await host.settled(late) == [AckStatus.COMPLETED]
            assert len(host.sent()) == 2

    asyncio.run(run())


def test_send_message_the_only_destination_needs_no_name(tmp_path):
    async def run():
        options = calls(("send_message", {"text": "x"}))
        async with HostSide(tmp_path, options=options, destinations=[FAMILY]) as host:
            inbound.set_routing(host.inbound, inbound.Routing())
            await host.start()
            await host.settled(host.put('{"prompt": "x"}', kind=Kind.TASK, channel=None, room=None))
            assert (host.sent()[0].room, host.sent()[0].in_reply_to) == ("r1", "in-1")

    asyncio.run(run())
