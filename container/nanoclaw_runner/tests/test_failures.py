"""What happens when a provider fails. The runner runs in this process, so that its pauses can be short."""

import asyncio
import json

import pytest
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.testing import HostSide, said
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire.events import ErrorClass, Progress, Result
from nanoclaw_wire.outbound import AckStatus

QUICK = Timeouts(retry_delays_s=(0.01, 0.01, 0.01))


def script(*steps):
    return {"script": json.dumps(steps)}


def provider_of(open_query):
    """Return a provider whose queries this function makes out of their prompts."""

    class Made:
        has_slash_commands = False

        async def query(self, prompt, **_more):
            return open_query(prompt)

        def is_stale(self, error):
            return False

        async def close(self):
            pass

    return Made()


def fails(retryable, times=1, kind="overloaded"):
    return {"error": {"message": "secret detail 529", "retryable": retryable, "kind": kind}, "times": times}


def test_warning_12_what_may_work_later_is_tried_again_and_people_read_nothing(tmp_path):
    async def run():
        options = script(fails(True, times=3), {"reply": "at last"})
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=QUICK):
            message = host.say("x")
            assert await host.settled(message) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["at last"]

    asyncio.run(run())


def test_warning_12_after_the_last_try_people_read_plain_words_and_the_message_failed(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script(fails(True, times=None))) as host, host.running(timeouts=QUICK):
            message = host.say("x", thread="t1", correlation_id="corr-7")
            assert await host.settled(message) == [AckStatus.FAILED]
            [apology] = host.sent()
            assert (apology.channel, apology.room, apology.thread) == ("chat", "r1", "t1")
            assert "overloaded" in said(apology)
            assert "corr-7" in said(apology)
            assert "529" not in said(apology)

    asyncio.run(run())


def test_trouble_that_lasts_is_told_once_before_the_answer_and_the_failure_after_it(tmp_path):
    async def run():
        timeouts = Timeouts(retry_delays_s=(0.01, 0.01, 0.01), trouble_s=0)
        options = script(fails(True, times=2, kind="connection"), {"reply": "at last"}, fails(False, times=None))
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=timeouts):
            await host.settled(host.say("x", correlation_id="corr-7"))
            trouble, answer = host.sent()
            assert (
                said(trouble)
                == "I can't reach my language model right now. I keep trying for a while. (Reference: corr-7)"
            )
            assert said(answer) == "at last"
            await host.settled(host.say("y"))
            marks = [json.loads(message.content).get("is_failure") for message in host.sent()]
            assert marks == [True, None, True]

    asyncio.run(run())


def test_trouble_that_a_provider_gets_over_inside_of_its_turn_is_told_when_it_lasts(tmp_path):
    class Struggling:
        """Reports trouble until somebody read of it, then answers."""

        def __init__(self, read_of_it):
            self._read_of_it = read_of_it

        async def events(self):
            while not self._read_of_it():
                yield Progress(message="no answer", trouble=ErrorClass.CONNECTION)
                await asyncio.sleep(0)
            yield Result(text='<message to="family">at last</message>')

        async def end(self):
            pass

        async def abort(self):
            pass

    async def run():
        timeouts = Timeouts(trouble_s=0.05)
        async with HostSide(tmp_path, provider="struggling") as host:
            provider = provider_of(lambda _prompt: Struggling(host.sent))
            part = RunnerPlugin(name="x", providers=[ProviderOffer(name="struggling", connect=lambda _: provider)])
            async with host.running(timeouts=timeouts, plugins=RunnerPlugins(loaded=(part,))):
                await host.settled(host.say("x"))
                assert [said(message)[:30] for message in host.sent()] == ["I can't reach my language mode", "at last"]

    asyncio.run(run())


def test_trouble_of_another_agents_message_is_told_to_nobody(tmp_path):
    async def run():
        timeouts = Timeouts(retry_delays_s=(0.01,), trouble_s=0)
        options = script(fails(True), {"text": "<internal>fine</internal>"})
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=timeouts):
            await host.settled(host.say("x", channel="agent", room="ag-peer"))
            assert host.sent() == []

    asyncio.run(run())


def test_warning_42_what_cannot_work_fails_at_once_and_people_are_told(tmp_path):
    async def run():
        never = Timeouts(retry_delays_s=(600,))
        options = script(fails(False, kind="authentication"), {"reply": "works"})
        async with HostSide(tmp_path, options=options) as host, host.running(timeouts=never):
            assert await host.settled(host.say("x")) == [AckStatus.FAILED]
            assert "model key" in said(host.sent()[0])
            await host.settled(host.say("y"))
            assert said(host.sent()[1]) == "works"

    asyncio.run(run())


def test_warning_47_another_agent_never_reads_of_an_error(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=script(fails(False, times=None))) as host, host.running(timeouts=QUICK):
            from_agent = host.say("x", channel="agent", room="ag-peer")
            note = host.say("host note", channel=None, room=None)
            assert await host.settled(from_agent, note) == [AckStatus.FAILED, AckStatus.FAILED]
            assert host.sent() == []

    asyncio.run(run())


def test_invariant_12_two_agents_that_fail_do_not_answer_each_other(tmp_path):
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


def test_a_claim_stays_while_a_further_try_waits_and_stop_ends_the_waiting(tmp_path):
    async def run():
        timeouts = Timeouts(retry_delays_s=(600,))
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
def test_a_provider_that_misbehaves_fails_its_turn_and_not_the_runner(tmp_path, step):
    async def run():
        async with HostSide(tmp_path, options=script(step)) as host, host.running(timeouts=QUICK):
            assert await host.settled(host.say("x")) == [AckStatus.FAILED]
            assert "bug" not in said(host.sent()[0])

    asyncio.run(run())


def test_a_failed_turn_does_not_take_a_later_message_with_it(tmp_path):
    async def run():
        steps = ({**fails(False), "match": "first", "delay_s": 0.3}, {"match": "second", "reply": "two"})
        async with HostSide(tmp_path, options=script(*steps)) as host, host.running(timeouts=QUICK):
            first = host.say("first")
            await host.until(lambda: first in host.acknowledged())
            second = host.say("second")
            assert await host.settled(first, second) == [AckStatus.FAILED, AckStatus.COMPLETED]
            assert said(host.sent()[-1]) == "two"

    asyncio.run(run())


def test_a_provider_whose_push_raises_fails_its_turn_and_the_message_is_tried_again(tmp_path):
    class DeafQuery:
        """Answers its first prompt; a push finds the process gone."""

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
            name="deaf", providers=[ProviderOffer(name="deaf", connect=lambda _context: provider_of(DeafQuery))]
        )
        async with (
            HostSide(tmp_path, provider="deaf") as host,
            host.running(timeouts=QUICK, plugins=RunnerPlugins(loaded=(part,))),
        ):
            for text in ("one", "two"):
                assert await host.settled(host.say(text)) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["1", "1"]

    asyncio.run(run())


def test_a_provider_that_cannot_open_a_query_is_told_to_people(tmp_path):
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
