"""Tests of results that name their prompts, which the runner settles, addresses and retries (⚠6, ⚠11)."""

import asyncio
import contextlib
import json

from nanoclaw_runner.pending_prompts import SilenceTimeouts
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.testing import HostSide, said
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire.events import Init, Result, TookIn, ToolEnded, ToolStarted
from nanoclaw_wire.outbound import AckStatus

TOOL = {"name": "Bash", "delay_s": 0.5}
NEVER = SilenceTimeouts(idle_s=600, active_s=600)  # silence settles nothing
QUICK = Timeouts(silence=NEVER, turn_pauses_s=(0.01, 0.01, 0.01))


def script(*steps):
    return {"script": json.dumps(steps)}


async def say_two_that_join(host, **second):
    """Write a message, and another while its turn runs a tool; wait for the answer, and return both ids."""
    first = host.say("first", thread="t1")
    await host.until(lambda: host.doing("tool") == "Bash")
    joined = host.say("second", **second)
    await host.until(lambda: joined in host.acknowledged())
    await host.replies(1)
    return first, joined


def test_joined_message_is_settled_with_its_answer(tmp_path):
    """SIGTERM follows the answer at once; the next runner answers neither message again."""

    async def run():
        steps = ({"tools": [TOOL], "reply": "both"}, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            first, second = await say_two_that_join(host)
            assert host.acknowledged() == {first: AckStatus.COMPLETED, second: AckStatus.COMPLETED}
            await host.stop()
            await host.start()
            await host.settled(host.say("third"))
            assert [said(reply) for reply in host.sent()] == ["both", "third"]

    asyncio.run(run())


def test_later_failed_turn_retries_its_own_message(tmp_path):
    """After two messages were answered together, the retry of a third one repeats neither."""

    async def run():
        failure = {"match": "third", "error": {"message": "529", "retryable": True, "kind": "overloaded"}}
        steps = ({"tools": [TOOL], "reply": "both"}, failure, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            await say_two_that_join(host)
            assert await host.settled(host.say("third")) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["both", "third"]

    asyncio.run(run())


def test_later_final_error_replies_to_its_own_message(tmp_path):
    """The error notice names the refused message; the answered messages stay answered."""

    async def run():
        failure = {"match": "third", "error": {"message": "400", "retryable": False, "kind": "refused"}}
        steps = ({"tools": [TOOL], "reply": "both"}, failure, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            first, second = await say_two_that_join(host)
            third = host.say("third", thread="t3")
            assert await host.settled(first, second, third) == [
                AckStatus.COMPLETED,
                AckStatus.COMPLETED,
                AckStatus.FAILED,
            ]
            _both, apology = host.sent()
            assert (apology.in_reply_to, apology.thread) == (third, "t3")

    asyncio.run(run())


def test_failed_turn_retries_all_joined_messages(tmp_path):
    """The turn of two messages fails once; one prompt repeats both."""

    async def run():
        failure = {"tools": [TOOL], "error": {"message": "529", "retryable": True, "kind": "overloaded"}}
        steps = (failure, {"reply": "{prompt}"})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            first, second = await say_two_that_join(host)
            assert await host.settled(first, second) == [AckStatus.COMPLETED, AckStatus.COMPLETED]
            [reply] = host.sent()
            assert [word for word in ("first", "second") if word in said(reply)] == ["first", "second"]

    asyncio.run(run())


def test_answers_after_a_joined_message_go_to_their_threads(tmp_path):
    """In a room with threads, the answer to two messages goes to the newer thread."""

    async def run():
        steps = ({"tools": [TOOL], "reply": "both"}, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            _first, second = await say_two_that_join(host, thread="t2")
            third = host.say("third", thread="t3")
            await host.settled(third)
            fourth = host.say("fourth", thread="t4")
            await host.settled(fourth)
            assert [(said(reply), reply.thread, reply.in_reply_to) for reply in host.sent()] == [
                ("both", "t2", second),
                ("third", "t3", third),
                ("fourth", "t4", fourth),
            ]

    asyncio.run(run())


def test_log_entry_has_the_correlation_id_of_its_turn(tmp_path):
    """The turn after a joined message has the correlation id of its own message."""

    async def run():
        steps = ({"tools": [TOOL], "reply": "both"}, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            await say_two_that_join(host, correlation_id="corr-2")
            await host.settled(host.say("third", correlation_id="corr-3"))
            await host.stop()  # the log is complete then
            ended = [line["correlation"] for line in host.log() if line["event"] == "turn ended"]
            assert ended == ["in-1", "corr-3"]
            pushed = [line.get("correlation") for line in host.log() if line["event"] == "message pushed"]
            assert pushed == ["in-1", None]  # the id of the turn that runs, if one runs

    asyncio.run(run())


def test_correction_settles_all_joined_messages(tmp_path):
    """The answer to two messages had no block; the corrected answer settles both."""

    async def run():
        steps = (
            {"tools": [TOOL], "text": "bare"},
            {"match": "^<system>", "text": '<message to="family">both</message>'},
        )
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            first, second = await say_two_that_join(host, thread="t2")
            assert host.acknowledged() == {first: AckStatus.COMPLETED, second: AckStatus.COMPLETED}
            assert [(said(reply), reply.in_reply_to) for reply in host.sent()] == [("both", second)]

    asyncio.run(run())


class Model:
    """A provider that reports the events of the test."""

    has_slash_commands = False

    def __init__(self, *, begins_next_turn=False, ends=True):
        self.pushes, self.tools = [], {}
        self._begins_next_turn, self._ends = begins_next_turn, ends
        self._events = asyncio.Queue()

    def connect(self, context):
        self.tools = {tool.name: tool for tool in context.tools}
        return self

    async def query(self, prompt, push_id, **_more):
        await self.push(prompt, push_id)
        return self

    async def push(self, _text, push_id):
        self.pushes.append(push_id)

    def reports(self, *events):
        for event in events:
            self._events.put_nowait(event)

    async def events(self):
        while (event := await self._events.get()) is not None:
            yield event

    async def end(self):
        self.reports(*[Init(continuation="c")] * self._begins_next_turn, *[None] * self._ends)

    async def abort(self):
        self.reports(None)

    interrupt = close = abort

    def is_stale(self, error):
        return False


@contextlib.asynccontextmanager
async def running_turn(tmp_path, model, **timeouts):
    """Run a runner; its model has read two messages, one after the other, of one room and two threads."""
    part = RunnerPlugin(name="x", providers=[ProviderOffer(name="model", connect=model.connect)])
    timeouts = Timeouts(silence=NEVER, **timeouts)
    host = HostSide(tmp_path, provider="model")
    async with host, host.running(plugins=RunnerPlugins(loaded=(part,)), timeouts=timeouts):
        first = host.say("first", thread="t1")
        await host.until(lambda: len(model.pushes) == 1)
        second = host.say("second", thread="t2")
        await host.until(lambda: len(model.pushes) == 2)
        yield host, (first, second)


def in_doubt(tmp_path, model, **timeouts):
    """Stop the runner after a result that names no prompt; return the acknowledgements of the two messages."""

    async def run():
        async with running_turn(tmp_path, model, **timeouts) as (host, (first, _second)):
            model.reports(Init(continuation="c"), Result(text='<message to="family">1</message>'))
            await host.settled(first)
        return list(host.acknowledged().values())

    return asyncio.run(run())


def test_sigterm_query_ends_settles_prompts_in_doubt(tmp_path):
    """The provider cannot know; at SIGTERM it has no work left, so it answered both messages."""
    assert in_doubt(tmp_path, Model()) == [AckStatus.COMPLETED, AckStatus.COMPLETED]


def test_sigterm_next_turn_begins_keeps_its_message_pending(tmp_path):
    """At SIGTERM the provider begins the second message's turn, which the next runner repeats."""
    model = Model(begins_next_turn=True)
    assert sorted(in_doubt(tmp_path, model)) == [AckStatus.COMPLETED, AckStatus.PROCESSING]


def test_sigterm_query_hangs_keeps_doubt_pending(tmp_path):
    """The provider does not end in time; its silence proves nothing."""
    model = Model(ends=False)
    assert sorted(in_doubt(tmp_path, model, end_s=0.05)) == [AckStatus.COMPLETED, AckStatus.PROCESSING]


def test_unnamed_result_after_a_tool_settles_both(tmp_path):
    """The provider cannot know, but a tool ended after the second message: the model read it."""

    async def run():
        model = Model()
        async with running_turn(tmp_path, model) as (host, messages):
            model.reports(Init(continuation="c"), ToolStarted(tool="t"), ToolEnded(tool="t"), Result(text=None))
            assert await host.settled(*messages) == [AckStatus.COMPLETED, AckStatus.COMPLETED]

    asyncio.run(run())


def test_tool_writes_to_the_thread_of_the_taken_in_message(tmp_path):
    """A tool sends before and after the turn takes in the second message."""

    async def run():
        model = Model()
        async with running_turn(tmp_path, model) as (host, (first, second)):
            model.reports(Init(continuation="c"), TookIn(pushes=model.pushes[:1]))
            model.reports(ToolStarted(tool="one"), ToolEnded(tool="one"), ToolStarted(tool="two"))
            await host.until(lambda: host.doing("tool") == "two")
            await model.tools["send_message"].run({"text": "early"})
            model.reports(ToolEnded(tool="two"), TookIn(pushes=model.pushes), ToolStarted(tool="three"))
            await host.until(lambda: host.doing("tool") == "three")
            await model.tools["send_message"].run({"text": "late", "to": "family"})
            assert [(reply.thread, reply.in_reply_to) for reply in host.sent()] == [("t1", first), ("t2", second)]

    asyncio.run(run())
