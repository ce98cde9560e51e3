"""Tests of failing providers. The runner runs in this process, so that its delays can be short."""

import asyncio
import json

import pytest
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.testing import HostSide, said
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire.events import ErrorClass, Progress, Result
from nanoclaw_wire.outbound import AckStatus

QUICK = Timeouts(turn_pauses_s=(0.01, 0.01, 0.01))


def script(*steps):
    return {"script": json.dumps(steps)}


def provider_of(open_query):
    """Return a provider that makes its queries with a function of the prompt."""

    class FunctionProvider:
        has_slash_commands = False

        async def query(self, prompt, **_more):
            return open_query(prompt)

        def is_stale(self, error):
            return False

        async def close(self):
            pass

    return FunctionProvider()


def fails(retryable, times=1, kind="overloaded"):
    return {"error": {"message": "secret detail 529", "retryable": retryable, "kind": kind}, "times": times}


@pytest.mark.defect(number=12)
def test_retryable_error_is_retried_silently(tmp_path):
    async def run():
        options = script(fails(True, times=3), {"reply": "at last"})
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=QUICK):
            message = host.say("x")
            assert await host.settled(message) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["at last"]

    asyncio.run(run())


@pytest.mark.defect(number=12)
def test_last_retry_fails_sends_a_plain_notice(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script(fails(True, times=None))) as host, host.running(timeouts=QUICK):
            message = host.say("x", thread="t1", correlation_id="corr-7")
            assert await host.settled(message) == [AckStatus.FAILED]
            [notice] = host.sent()
            assert (notice.channel, notice.room, notice.thread) == ("chat", "r1", "t1")
            assert "overloaded" in said(notice)
            assert "corr-7" in said(notice)
            assert "529" not in said(notice)

    asyncio.run(run())


def test_long_outage_sends_one_notice(tmp_path):
    """The notice comes before the answer; a later failure has a notice of its own."""

    async def run():
        timeouts = Timeouts(turn_pauses_s=(0.01, 0.01, 0.01), trouble_s=0)
        options = script(fails(True, times=2, kind="connection"), {"reply": "at last"}, fails(False, times=None))
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=timeouts):
            await host.settled(host.say("x", correlation_id="corr-7"))
            notice, answer = host.sent()
            assert (
                said(notice)
                == "I can't reach my language model right now. I keep trying for a while. (Reference: corr-7)"
            )
            assert said(answer) == "at last"
            await host.settled(host.say("y"))
            marks = [json.loads(message.content).get("is_failure") for message in host.sent()]
            assert marks == [True, None, True]

    asyncio.run(run())


def test_long_outage_within_a_turn_sends_one_notice(tmp_path):
    """The provider retries by itself and reports the outage as progress."""

    class RetryingQuery:
        """Reports an outage until people got a notice, then answers."""

        def __init__(self, notices):
            self._notices = notices

        async def events(self):
            while not self._notices():
                yield Progress(message="no answer", error=ErrorClass.CONNECTION)
                await asyncio.sleep(0)
            yield Result(text='<message to="family">at last</message>')

        async def end(self):
            pass

        async def abort(self):
            pass

    async def run():
        timeouts = Timeouts(trouble_s=0.05)
        async with HostSide(tmp_path, provider="retrying") as host:
            provider = provider_of(lambda _prompt: RetryingQuery(host.sent))
            part = RunnerPlugin(name="x", providers=[ProviderOffer(name="retrying", connect=lambda _: provider)])
            async with host.running(timeouts=timeouts, plugins=RunnerPlugins(loaded=(part,))):
                await host.settled(host.say("x"))
                assert [said(message)[:30] for message in host.sent()] == ["I can't reach my language mode", "at last"]

    asyncio.run(run())


def test_outage_for_another_agent_sends_no_notice(tmp_path):
    async def run():
        timeouts = Timeouts(turn_pauses_s=(0.01,), trouble_s=0)
        options = script(fails(True), {"text": "<internal>fine</internal>"})
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=timeouts):
            await host.settled(host.say("x", channel="agent", room="ag-peer"))
            assert host.sent() == []

    asyncio.run(run())


@pytest.mark.defect(number=42)
def test_final_error_fails_at_once_with_a_notice(tmp_path):
    async def run():
        never = Timeouts(turn_pauses_s=(600,))
        options = script(fails(False, kind="authentication"), {"reply": "works"})
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=never):
            assert await host.settled(host.say("x")) == [AckStatus.FAILED]
            assert "model key" in said(host.sent()[0])
            await host.settled(host.say("y"))
            assert said(host.sent()[1]) == "works"

    asyncio.run(run())


@pytest.mark.defect(number=47)
def test_final_error_for_another_agent_sends_no_notice(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script(fails(False, times=None))) as host, host.running(timeouts=QUICK):
            from_agent = host.say("x", channel="agent", room="ag-peer")
            note = host.say("host note", channel=None, room=None)
            assert await host.settled(from_agent, note) == [AckStatus.FAILED, AckStatus.FAILED]
            assert host.sent() == []

    asyncio.run(run())


@pytest.mark.invariant(number=12)
def test_two_failing_agents_do_not_answer_each_other(tmp_path):
    async def run():
        failing = script(fails(False, times=None))
        async with (
            HostSide(tmp_path / "a", options=failing) as one,
            HostSide(tmp_path / "b", options=failing) as other,
            one.running(timeouts=QUICK),
            other.running(timeouts=QUICK),
        ):
            await one.settled(one.say("start", channel="agent", room="ag-peer"))
            await other.settled(other.say("start", channel="agent", room="ag-peer"))
            assert (one.sent(), other.sent()) == ([], [])

    asyncio.run(run())


def test_stop_during_a_retry_pause_settles_the_message(tmp_path):
    """The message stays claimed until then."""

    async def run():
        timeouts = Timeouts(turn_pauses_s=(600,))
        async with HostSide(tmp_path, options=script(fails(True))) as host, host.running(timeouts=timeouts):
            message = host.say("x")
            await host.until(lambda: host.acknowledged().get(message))
            assert host.acknowledged()[message] is AckStatus.PROCESSING
            assert host.files.heartbeat.exists()
            stop = host.say("/stop")
            assert await host.settled(message, stop) == [AckStatus.COMPLETED, AckStatus.COMPLETED]
            assert said(host.sent()[-1]) == "Stopped."

    asyncio.run(run())


@pytest.mark.parametrize("step", [{"raises": "bug in the SDK"}, {"ends": True, "times": None}])
def test_misbehaving_provider_fails_its_turn_only(tmp_path, step):
    """The provider raises an error, or its query ends during a turn."""

    async def run():
        async with HostSide(tmp_path, options=script(step)) as host, host.running(timeouts=QUICK):
            assert await host.settled(host.say("x")) == [AckStatus.FAILED]
            assert "bug" not in said(host.sent()[0])

    asyncio.run(run())


def test_failed_turn_leaves_a_later_message_pending(tmp_path):
    async def run():
        steps = ({**fails(False), "match": "first", "delay_s": 0.3}, {"match": "second", "reply": "two"})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            first = host.say("first")
            await host.until(lambda: first in host.acknowledged())
            second = host.say("second")
            assert await host.settled(first, second) == [AckStatus.FAILED, AckStatus.COMPLETED]
            assert said(host.sent()[-1]) == "two"

    asyncio.run(run())


def test_push_raises_repeats_the_message(tmp_path):
    class QueryWithBrokenPush:
        """Answers its first prompt; a push raises, because the process is gone."""

        def __init__(self, prompt):
            self._prompt, self._aborted = prompt, asyncio.Event()

        async def events(self):
            yield Result(text=f'<message to="family">{self._prompt.count("<message id")}</message>')
            await self._aborted.wait()

        async def push(self, text, push_id):
            raise ConnectionError("gone")

        async def abort(self):
            self._aborted.set()

    async def run():
        part = RunnerPlugin(
            name="broken",
            providers=[ProviderOffer(name="broken", connect=lambda _context: provider_of(QueryWithBrokenPush))],
        )
        async with (
            HostSide(tmp_path, provider="broken") as host,
            host.running(timeouts=QUICK, plugins=RunnerPlugins(loaded=(part,))),
        ):
            for text in ("one", "two"):
                assert await host.settled(host.say(text)) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["1", "1"]

    asyncio.run(run())


def test_query_cannot_open_sends_a_notice(tmp_path):
    def broken(_prompt):
        raise OSError("no such program")

    async def run():
        part = RunnerPlugin(
            name="broken", providers=[ProviderOffer(name="broken", connect=lambda _context: provider_of(broken))]
        )
        async with (
            HostSide(tmp_path, provider="broken") as host,
            host.running(timeouts=QUICK, plugins=RunnerPlugins(loaded=(part,))),
        ):
            assert await host.settled(host.say("x")) == [AckStatus.FAILED]
            assert "Something went wrong" in said(host.sent()[0])

    asyncio.run(run())
