"""`ncl groups restart` on a running host, with a runtime of the test's own that makes images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agents_host import Hosted, Listening, hosted

from nanoclaw_core import GroupId, Packages, SandboxFailed, SandboxSpec
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.testing.scripted import ScriptedRuntime, ScriptedSandbox


class Builder(ScriptedRuntime):
    """A runtime that makes images when it is told to.

    Args:
        fails: What a build says; None succeeds.
    """

    def __init__(self, fails: str | None = None) -> None:
        super().__init__(Listening())
        self.fails = fails
        self.asked: list[Packages] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.has_begun = asyncio.Event()

    async def build_for(self, group_id: GroupId, packages: Packages, tell: Callable[[str], None]) -> str:
        self.asked.append(packages)
        tell("step 1 of 1")
        self.has_begun.set()
        await asyncio.wait_for(self.may_end.wait(), WAIT_S)
        if self.fails:
            raise SandboxFailed(self.fails)
        return f"image-of-{group_id}:{len(self.asked)}"


class Stubborn(ScriptedRuntime):
    """A runtime whose engine does not end the sandboxes of some sessions."""

    def __init__(self) -> None:
        super().__init__(Listening())
        self.refusing: set[str] = set()

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        self.specs.append(spec)
        return StubbornSandbox(spec, self)


class StubbornSandbox(ScriptedSandbox):
    """One of its sandboxes."""

    def __init__(self, spec: SandboxSpec, runtime: Stubborn) -> None:
        super().__init__(spec, runtime.script)
        self._session_id, self._runtime = spec.session_id, runtime

    async def stop(self, grace_s: float) -> None:
        if self._session_id in self._runtime.refusing:
            raise SandboxFailed("the engine does not answer")
        await super().stop(grace_s)


async def add_package(host: Hosted, group_id: str, **packages: Any) -> None:
    await host.ncl.data("groups", "config", "add-package", group_id, **packages)


def test_the_operator_restarts_every_running_session_of_a_group_and_no_other(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            first, second = await host.session("r1"), await host.session("r2")
            other = await host.session("r3", folder="other")
            answer = await host.ncl.data("groups", "restart", first.agent_group_id, message="Config updated.")
            assert answer == {"restarted": sorted([first.id, second.id]), "rebuilt": None}
            await host.listening.heard(first.id, "Config updated.")
            await host.listening.heard(second.id, "Config updated.")
            assert [one for one, _ in host.listening.lives].count(other.id) == 1

    asyncio.run(scenario())


def test_without_a_message_a_session_stays_ended_until_its_next_message(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            answer = await host.ncl.data("groups", "restart", session.agent_group_id)
            assert answer["restarted"] == [session.id]
            assert (await host.ncl.data("groups", "restart", session.agent_group_id))["restarted"] == []
            assert len(host.listening.lives) == 1
            await host.running.channel.say("and now?")
            assert await host.running.channel.texts(2) == ["echo: hello", "echo: and now?"]
            assert len(host.listening.lives) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("scope", ["group", "global"])
def test_warning_14_an_agent_restarts_its_own_session_alone_also_once_it_is_approved(
    nanoclaw_instance: Instance, scope: str
) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session, beside = await host.session("r1"), await host.session("r2")
            host.scope(session.agent_group_id, scope)
            done = await host.approved(session, "groups", "restart", message="Look again.")
            assert done["data"] == {"restarted": [session.id], "rebuilt": None}
            await host.listening.heard(session.id, "Look again.")
            assert [one for one, _ in host.listening.lives].count(beside.id) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("scope", ["group", "global"])
def test_warning_14_an_agent_restarts_no_other_whatever_its_scope(nanoclaw_instance: Instance, scope: str) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session("r1")
            other = await host.session("r2", folder="other")
            host.scope(session.agent_group_id, scope)
            answer = await host.as_agent(session, "groups", "restart", other.agent_group_id)
            assert answer["error"]["code"] == "forbidden"
            assert nanoclaw_instance.db.execute("SELECT count(*) FROM approvals").get == 0

    asyncio.run(scenario())


def test_an_agent_whose_sandbox_has_ended_meanwhile_reads_its_note_in_a_fresh_one(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            await host.ncl.data("groups", "restart", session.agent_group_id)
            done = await host.approved(session, "groups", "restart", message="You were away.")
            assert done["data"]["restarted"] == [session.id]
            await host.listening.heard(session.id, "You were away.")

    asyncio.run(scenario())


def test_an_agent_whose_conversation_was_closed_meanwhile_is_left_in_peace(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            await host.ncl.data("groups", "restart", session.agent_group_id)
            nanoclaw_instance.db.execute("UPDATE sessions SET status = 'closed'")
            done = await host.approved(session, "groups", "restart", message="Are you there?")
            assert done["data"]["restarted"] == []
            assert len(host.listening.lives) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "groups restart needs --id"),
        ({"id": "AGENT", "message": "\ud800"}, "--message must be a text"),
        ({"id": "AGENT", "message": "x" * 20_001}, "--message must be a text of at most 20000"),
        ({"id": "AGENT", "message": True}, "--message must be a text"),
        ({"id": "AGENT", "rebuild": "perhaps"}, "--rebuild must be true or false"),
    ],
)
def test_a_restart_that_makes_no_sense_ends_nothing(nanoclaw_instance: Instance, options, says) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            given = options | ({"id": session.agent_group_id} if "id" in options else {})
            code, message = await host.ncl.refusal("groups", "restart", **given)
            assert (code, says in message) == ("invalid-args", True), message
            assert host.running.host.status()["sandboxes"] != []

    asyncio.run(scenario())


def test_a_rebuild_makes_the_image_tells_its_steps_and_restarts_with_it(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = Builder()
        async with hosted(nanoclaw_instance, runtime=runtime) as host:
            session = await host.session()
            group_id = session.agent_group_id
            await add_package(host, group_id, apt="jq", pip=["six"])
            frames = await host.ncl.frames("groups", "restart", group_id, rebuild=True, message="New tools.")
            assert [frame["progress"] for frame in frames[:-1]] == ["step 1 of 1"]
            assert frames[-1]["data"] == {"restarted": [session.id], "rebuilt": f"image-of-{group_id}:1"}
            assert runtime.asked == [Packages(apt=["jq"], pip=["six"])]
            await host.listening.heard(session.id, "New tools.")
            assert [spec.image for spec in runtime.specs] == [None, f"image-of-{group_id}:1"]

    asyncio.run(scenario())


def test_an_image_that_cannot_be_made_leaves_the_old_one_and_the_sandboxes(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = Builder(fails="step 2 failed: RUN apt-get install nonsense: Unable to locate package nonsense")
        async with hosted(nanoclaw_instance, runtime=runtime) as host:
            session = await host.session()
            group_id = session.agent_group_id
            await add_package(host, group_id, apt="nonsense")
            await host.ncl.data("groups", "config", "update", group_id, **{"image-tag": "old:1"})
            frames = await host.ncl.frames("groups", "restart", group_id, rebuild=True, message="New tools.")
            assert frames[-1]["error"]["message"] == runtime.fails
            assert host.config(group_id).image_tag == "old:1"
            await host.running.channel.say("still there?")
            await host.running.channel.texts(2)
            assert host.listening.lives == [(session.id, ["hello", "still there?"])]
            runtime.fails = None
            again = await host.ncl.frames("groups", "restart", group_id, rebuild=True)
            assert again[-1]["data"]["rebuilt"] == f"image-of-{group_id}:2"

    asyncio.run(scenario())


def test_messages_are_answered_while_an_image_is_made_and_a_second_build_is_refused(
    nanoclaw_instance: Instance,
) -> None:
    async def scenario() -> None:
        runtime = Builder()
        runtime.may_end.clear()
        async with hosted(nanoclaw_instance, runtime=runtime) as host, host.another() as second:
            group_id = (await host.session()).agent_group_id
            await add_package(host, group_id, npm="@scope/tool")
            building = asyncio.create_task(host.ncl.frames("groups", "restart", group_id, rebuild=True))
            await asyncio.wait_for(runtime.has_begun.wait(), WAIT_S)
            await host.running.channel.say("are you there?")
            await host.running.channel.texts(2)
            code, message = await second.refusal("groups", "restart", group_id, rebuild=True)
            assert (code, "is being made already" in message) == ("invalid-args", True)
            runtime.may_end.set()
            assert (await building)[-1]["data"]["rebuilt"] == f"image-of-{group_id}:1"

    asyncio.run(scenario())


def test_warning_43_a_rebuild_without_packages_goes_back_to_the_image_of_all(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:  # with a runtime that makes no images
            session = await host.session()
            await host.ncl.data("groups", "config", "update", session.agent_group_id, **{"image-tag": "stale:1"})
            answer = await host.ncl.data("groups", "restart", session.agent_group_id, rebuild=True)
            assert answer == {"restarted": [session.id], "rebuilt": None}
            assert host.config(session.agent_group_id).image_tag is None

    asyncio.run(scenario())


def test_warning_43_an_image_whose_last_package_went_while_it_was_made_is_not_used(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = Builder()
        runtime.may_end.clear()
        async with hosted(nanoclaw_instance, runtime=runtime) as host, host.another() as second:
            group_id = nanoclaw_instance.group().id
            await add_package(host, group_id, apt="jq")
            building = asyncio.create_task(host.ncl.frames("groups", "restart", group_id, rebuild=True))
            await asyncio.wait_for(runtime.has_begun.wait(), WAIT_S)
            await second.data("groups", "config", "remove-package", group_id, apt="jq")
            runtime.may_end.set()
            frames = await building
            assert frames[-1]["data"]["rebuilt"] is None
            assert "rebuild again" in frames[-2]["progress"]
            assert host.config(group_id).image_tag is None

    asyncio.run(scenario())


def test_without_a_runtime_that_makes_images_packages_are_refused_with_the_remedy(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            await add_package(host, session.agent_group_id, apt="jq")
            code, message = await host.ncl.refusal("groups", "restart", session.agent_group_id, rebuild=True)
            assert (code, "install nanoclaw-runtime-docker" in message) == ("invalid-args", True)
            asked = await host.as_agent(session, "groups", "restart", rebuild=True)
            assert asked["error"]["code"] == "invalid-args"

    asyncio.run(scenario())


def test_a_session_that_cannot_be_restarted_keeps_no_other_from_it(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = Stubborn()
        async with hosted(nanoclaw_instance, runtime=runtime) as host:
            first, second = await host.session("r1"), await host.session("r2")
            runtime.refusing = {first.id}
            answer = await host.ncl.data("groups", "restart", first.agent_group_id)
            assert answer == {
                "restarted": [second.id],
                "rebuilt": None,
                "failed": {first.id: "the engine does not answer"},
            }
            runtime.refusing = set()

    asyncio.run(scenario())
