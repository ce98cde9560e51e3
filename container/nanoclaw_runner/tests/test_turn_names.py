"""Tests that a turn uses the destinations of its prompt, even if the host changes them meanwhile (I15)."""

import asyncio
import contextlib
import unicodedata

import pytest
from attrs import evolve
from nanoclaw_runner.destinations import find
from nanoclaw_runner.pending_prompts import PendingPrompts, Prompt
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.testing import FAMILY, WORK, HostSide, said
from nanoclaw_wire import inbound
from nanoclaw_wire.events import Init, Result
from nanoclaw_wire.inbound import Destination

MOVED = [evolve(FAMILY, room="r2"), evolve(WORK, room="r1")]  # our host never does that: each name means the other room


class Model:
    """A provider. Each push begins a turn, and the test ends it."""

    has_slash_commands = False

    def __init__(self):
        self.prompts, self.tools = [], {}
        self._events = asyncio.Queue()

    def connect(self, context):
        self.tools = {tool.name: tool for tool in context.tools}
        return self

    async def query(self, prompt, push_id, **_more):
        await self.push(prompt, push_id)
        return self

    async def push(self, prompt, _push_id):
        self.prompts.append(prompt)
        await self._events.put(Init(continuation="c"))

    def ends_turn(self, text):
        self._events.put_nowait(Result(text=text))

    async def uses(self, tool, **arguments):
        return await self.tools[tool].run(arguments)

    async def events(self):
        while (event := await self._events.get()) is not None:
            yield event

    async def end(self):
        await self._events.put(None)

    abort = interrupt = close = end

    def is_stale(self, error):
        return False


@contextlib.asynccontextmanager
async def running_turn(tmp_path, destinations=(FAMILY, WORK)):
    """Run a runner; its model has read a message from r1, and the turn is open."""
    model = Model()
    part = RunnerPlugin(name="x", providers=[ProviderOffer(name="model", connect=model.connect)])
    host = HostSide(tmp_path, provider="model", destinations=destinations)
    async with host, host.running(plugins=RunnerPlugins(loaded=(part,))):
        host.say("how much do I have?")
        await host.until(lambda: model.prompts)
        yield host, model


@pytest.mark.invariant(number=15)
def test_turn_answers_the_room_that_its_prompt_named(tmp_path):
    """The names move while the model thinks; the answer goes to the room that asked."""

    async def run():
        async with running_turn(tmp_path) as (host, model):
            assert 'from="family"' in model.prompts[0]
            inbound.set_destinations(host.inbound, MOVED)
            model.ends_turn('<message to="family">42</message>')
            [reply] = await host.replies(1)
            assert reply.room == "r1"

    asyncio.run(run())


@pytest.mark.invariant(number=15)
def test_tool_writes_to_the_room_that_its_prompt_named(tmp_path):
    """A tool and the end of its turn use the same list."""

    async def run():
        async with running_turn(tmp_path) as (host, model):
            inbound.set_destinations(host.inbound, MOVED)
            await model.uses("send_message", text="42", to="family")
            assert (await model.uses("send_message", text="wait")).startswith("Message sent to family ")
            assert [reply.room for reply in host.sent()] == ["r1", "r1"]

    asyncio.run(run())


@pytest.mark.invariant(number=15)
def test_next_turn_uses_the_names_of_its_prompt(tmp_path):
    """The names of the newer prompt override the older ones."""

    async def run():
        async with running_turn(tmp_path) as (host, model):
            model.ends_turn('<message to="family">1</message>')
            await host.replies(1)
            inbound.set_destinations(host.inbound, MOVED)
            host.say("and now?")
            await host.until(lambda: len(model.prompts) == 2)
            assert 'from="work"' in model.prompts[1]
            model.ends_turn('<message to="work">2</message>')
            assert [reply.room for reply in await host.replies(2)] == ["r1", "r1"]

    asyncio.run(run())


@pytest.mark.invariant(number=15)
def test_providers_own_turn_uses_the_last_prompts_names(tmp_path):
    """A background task ends after the names moved; the model knows the last prompt's list."""

    async def run():
        async with running_turn(tmp_path) as (host, model):
            model.ends_turn('<message to="family">1</message>')
            await host.replies(1)
            inbound.set_destinations(host.inbound, MOVED)
            model.ends_turn('<message to="family">done</message>')
            assert [(said(reply), reply.room) for reply in await host.replies(2)] == [("1", "r1"), ("done", "r1")]

    asyncio.run(run())


def test_name_of_an_earlier_prompt_is_still_known(tmp_path):
    """The list lost a room; the model answers it by its old name, and the host decides."""

    async def run():
        async with running_turn(tmp_path) as (host, model):
            model.ends_turn('<message to="work">1</message>')
            await host.replies(1)
            inbound.set_destinations(host.inbound, [FAMILY])
            host.say("and now?")
            await host.until(lambda: len(model.prompts) == 2)
            model.ends_turn('<message to="work">2</message>')
            assert [reply.room for reply in await host.replies(2)] == ["r2", "r2"]

    asyncio.run(run())


def test_correction_names_the_current_destinations(tmp_path):
    """The answer to a correction uses the correction's list."""

    async def run():
        async with running_turn(tmp_path, destinations=[FAMILY]) as (host, model):
            inbound.set_destinations(host.inbound, [FAMILY, WORK])
            model.ends_turn("without a block")
            await host.until(lambda: len(model.prompts) == 2)
            assert "Known names: family, work." in model.prompts[1]
            model.ends_turn('<message to="work">this</message>')
            assert [reply.room for reply in await host.replies(1)] == ["r2"]

    asyncio.run(run())


def test_destinations_of_the_answered_prompt_come_first(make_row):
    """A second prompt joins a running turn; its names do not override those of the first."""
    pending = PendingPrompts()
    pending.pushed(Prompt(rows=(make_row(),), destinations=(FAMILY,)), 0.0)
    pending.pushed(Prompt(rows=(make_row(),), destinations=(*MOVED,)), 1.0)
    known = pending.destinations(pending.answering)
    assert {destination.name: destination.room for destination in known} == {"family": "r1", "work": "r1"}


@pytest.mark.parametrize("written", ["café-straße", "CAFÉ-Straße", unicodedata.normalize("NFD", "Café-straße")])
def test_find_matches_any_case_and_composition(written):
    """A model writes a capital, or a letter and its accent as two characters."""
    cafe = Destination(name="café-straße", kind="channel", channel="chat", room="r3")
    assert find([FAMILY, cafe], written) is cafe


def test_find_other_spelling_is_none():
    """Strasse is another room than Straße."""
    assert find([Destination(name="straße", kind="channel", channel="chat", room="r3")], "strasse") is None


def test_find_prefers_the_exact_name():
    """A host may distinguish two names by case alone."""
    lower, upper = evolve(FAMILY, name="ops"), evolve(FAMILY, name="OPS")
    assert find([upper, lower], "ops") is lower
