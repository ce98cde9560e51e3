"""A result names the pushes that it answers: what is settled, addressed and tried again goes by these (⚠6, ⚠11)."""

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
NEVER = SilenceTimeouts(idle_s=600, stirred_s=600)  # so that nothing is settled by silence
QUICK = Timeouts(silence=NEVER, retry_delays_s=(0.01, 0.01, 0.01))


def script(*steps):
    return {"script": json.dumps(steps)}


async def say_two_that_join(host, **second):
    """Say one message, and another while its turn runs a tool; wait for the answer to both; return their ids."""
    first = host.say("first", thread="t1")
    await host.until(lambda: host.doing("tool") == "Bash")
    joined = host.say("second", **second)
    await host.until(lambda: joined in host.acknowledged())
    await host.replies(1)
    return first, joined


def test_joined_message_is_settled_with_its_answer(tmp_path):
    """SIGTERM follows the answer at once: the next runner answers neither message again."""

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
    """A turn fails for a while after two messages were answered together: only its own message is asked again."""

    async def run():
        failure = {"match": "third", "error": {"message": "529", "retryable": True, "kind": "overloaded"}}
        steps = ({"tools": [TOOL], "reply": "both"}, failure, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            await say_two_that_join(host)
            assert await host.settled(host.say("third")) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["both", "third"]

    asyncio.run(run())


def test_later_final_error_is_said_in_reply_to_its_message(tmp_path):
    """The platform refuses a later message: people read which one, and the answered ones stay answered."""

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


def test_failed_turn_retries_all_that_joined_it(tmp_path):
    """The turn of two messages fails once: both are asked again in one prompt."""

    async def run():
        failure = {"tools": [TOOL], "error": {"message": "529", "retryable": True, "kind": "overloaded"}}
        steps = (failure, {"reply": "{prompt}"})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            first, second = await say_two_that_join(host)
            assert await host.settled(first, second) == [AckStatus.COMPLETED, AckStatus.COMPLETED]
            [reply] = host.sent()
            assert [word for word in ("first", "second") if word in said(reply)] == ["first", "second"]

    asyncio.run(run())


def test_each_answer_goes_to_its_thread_after_a_joined_message(tmp_path):
    """One room with threads: the answer to two goes to the newer one's thread, each later answer to its own."""

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


def test_log_names_the_message_that_a_turn_answered(tmp_path):
    """The correlation id of the turn after a joined message is that of its own message."""

    async def run():
        steps = ({"tools": [TOOL], "reply": "both"}, {"reply": "{text}", "times": None})
        async with HostSide(tmp_path, options=script(*steps)) as host:
            await host.start()
            await say_two_that_join(host, correlation_id="corr-2")
            await host.settled(host.say("third", correlation_id="corr-3"))
            await host.stop()  # then its log is complete
            ended = [line["correlation_id"] for line in host.log() if line["message"] == "turn ended"]
            assert ended == ["in-1", "corr-3"]

    asyncio.run(run())


def test_correction_answers_all_that_joined(tmp_path):
    """The answer to two messages reached nobody: the corrected one settles both."""

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
    """A provider whose turns consist of the events that the test sends."""

    has_slash_commands = False

    def __init__(self, *, goes_on=False, ends=True):
        self.pushes, self.tools = [], {}
        self._goes_on, self._ends = goes_on, ends
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
        self.reports(*[Init(continuation="c")] * self._goes_on, *[None] * self._ends)

    async def abort(self):
        self.reports(None)

    interrupt = close = abort

    def is_stale(self, error):
        return False


@contextlib.asynccontextmanager
async def at_work(tmp_path, model, **timeouts):
    """Run a runner whose model was told two messages, one after the other, of one room and two threads."""
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
    """Stop the runner after a result that names nothing; return how far the two messages are."""

    async def run():
        async with at_work(tmp_path, model, **timeouts) as (host, (first, _second)):
            model.reports(Init(continuation="c"), Result(text='<message to="family">1</message>'))
            await host.settled(first)
        return list(host.acknowledged().values())

    return asyncio.run(run())


def test_stop_settles_doubt_when_the_query_ends(tmp_path):
    """The provider cannot know; at SIGTERM it has nothing more to say, so it answered both messages."""
    assert in_doubt(tmp_path, Model()) == [AckStatus.COMPLETED, AckStatus.COMPLETED]


def test_stop_leaves_a_message_whose_turn_begins(tmp_path):
    """At SIGTERM the provider begins a turn of the second message, which the next runner does again."""
    model = Model(goes_on=True)
    assert sorted(in_doubt(tmp_path, model)) == [AckStatus.COMPLETED, AckStatus.PROCESSING]


def test_stop_leaves_doubt_when_the_query_does_not_end(tmp_path):
    """The provider does not end in time: its silence proves nothing."""
    model = Model(ends=False)
    assert sorted(in_doubt(tmp_path, model, end_s=0.05)) == [AckStatus.COMPLETED, AckStatus.PROCESSING]


def test_unnamed_result_after_a_tool_settles_both(tmp_path):
    """The provider cannot know, but a tool ended after the second message: the model has read it."""

    async def run():
        model = Model()
        async with at_work(tmp_path, model) as (host, messages):
            model.reports(Init(continuation="c"), ToolStarted(tool="t"), ToolEnded(tool="t"), Result(text=None))
            assert await host.settled(*messages) == [AckStatus.COMPLETED, AckStatus.COMPLETED]

    asyncio.run(run())


def test_tool_writes_to_the_thread_of_what_the_turn_took_in(tmp_path):
    """A tool sends before and after the turn takes in the second message, which does not join at the first tool."""

    async def run():
        model = Model()
        async with at_work(tmp_path, model) as (host, (first, second)):
            model.reports(Init(continuation="c"), TookIn(pushes=model.pushes[:1]))
            model.reports(ToolStarted(tool="one"), ToolEnded(tool="one"), ToolStarted(tool="two"))
            await host.until(lambda: host.doing("tool") == "two")
            await model.tools["send_message"].run({"text": "early"})
            model.reports(ToolEnded(tool="two"), TookIn(pushes=model.pushes), ToolStarted(tool="three"))
            await host.until(lambda: host.doing("tool") == "three")
            await model.tools["send_message"].run({"text": "late", "to": "family"})
            assert [(reply.thread, reply.in_reply_to) for reply in host.sent()] == [("t1", first), ("t2", second)]

    asyncio.run(run())
