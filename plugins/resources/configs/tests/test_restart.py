"""Tests of `ncl groups restart` on a running host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agents_host import Hosted, RecordingScript, hosted

from nanoclaw_core import GroupId, Packages, SandboxFailed, SandboxSpec
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.testing.scripted import ScriptedRuntime, ScriptedSandbox

OWN_NOTE = "You left this note for the time after your restart:"


class BuildingRuntime(ScriptedRuntime):
    """A runtime that builds images.

    Args:
        error: The error message of each build. None: builds succeed.
    """

    def __init__(self, error: str | None = None) -> None:
        super().__init__(RecordingScript())
        self.error = error
        self.builds: list[Packages] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.has_begun = asyncio.Event()

    async def build_for(self, group_id: GroupId, packages: Packages, progress: Callable[[str], None]) -> str:
        self.builds.append(packages)
        progress("step 1 of 1")
        self.has_begun.set()
        await asyncio.wait_for(self.may_end.wait(), WAIT_S)
        if self.error:
            raise SandboxFailed(self.error)
        return f"image-of-{group_id}:{len(self.builds)}"


class UnstoppableRuntime(ScriptedRuntime):
    """A runtime that fails to stop the sandboxes of some sessions."""

    def __init__(self) -> None:
        super().__init__(RecordingScript())
        self.unstoppable: set[str] = set()

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        self.specs.append(spec)
        return UnstoppableSandbox(spec, self)


class UnstoppableSandbox(ScriptedSandbox):
    """A sandbox of `UnstoppableRuntime`."""

    def __init__(self, spec: SandboxSpec, runtime: UnstoppableRuntime) -> None:
        super().__init__(spec, runtime.script)
        self._session_id, self._runtime = spec.session_id, runtime

    async def stop(self, grace_s: float) -> None:
        if self._session_id in self._runtime.unstoppable:
            raise SandboxFailed("the engine does not answer")
        await super().stop(grace_s)


async def add_package(host: Hosted, group_id: str, **packages: Any) -> None:
    await host.ncl.data("groups", "config", "add-package", group_id, **packages)


def test_operator_restarts_all_sessions_of_one_group(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            first, second = await host.session("r1"), await host.session("r2")
            other = await host.session("r3", folder="other")
            answer = await host.ncl.data("groups", "restart", first.agent_group_id, message="Config updated.")
            assert answer == {"restarted": sorted([first.id, second.id]), "rebuilt": None}
            await host.recording.wait_for(first.id, "Config updated.")
            await host.recording.wait_for(second.id, "Config updated.")
            assert [session_id for session_id, _ in host.recording.sandboxes].count(other.id) == 1

    asyncio.run(scenario())


def test_restart_without_message_leaves_sandbox_stopped(nanoclaw_instance: Instance) -> None:
    """The next message of a person starts the sandbox."""

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            answer = await host.ncl.data("groups", "restart", session.agent_group_id)
            assert answer["restarted"] == [session.id]
            assert (await host.ncl.data("groups", "restart", session.agent_group_id))["restarted"] == []
            assert len(host.recording.sandboxes) == 1
            await host.running.channel.say("and now?")
            assert await host.running.channel.texts(2) == ["echo: hello", "echo: and now?"]
            assert len(host.recording.sandboxes) == 2

    asyncio.run(scenario())


@pytest.mark.defect(number=14)
@pytest.mark.parametrize("scope", ["group", "global"])
def test_agent_restarts_only_its_own_session(nanoclaw_instance: Instance, scope: str) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session, beside = await host.session("r1"), await host.session("r2")
            host.scope(session.agent_group_id, scope)
            done = await host.approved(session, "groups", "restart", message="Look again.")
            assert done["data"] == {"restarted": [session.id], "rebuilt": None}
            await host.recording.wait_for(session.id, f"{OWN_NOTE} Look again.")
            assert [session_id for session_id, _ in host.recording.sandboxes].count(beside.id) == 1

    asyncio.run(scenario())


@pytest.mark.defect(number=14)
@pytest.mark.parametrize("scope", ["group", "global"])
def test_agent_of_any_scope_restarts_no_other_group(nanoclaw_instance: Instance, scope: str) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session("r1")
            other = await host.session("r2", folder="other")
            host.scope(session.agent_group_id, scope)
            answer = await host.as_agent(session, "groups", "restart", other.agent_group_id)
            assert answer["error"]["code"] == "forbidden"
            assert nanoclaw_instance.db.execute("SELECT count(*) FROM approvals").get == 0

    asyncio.run(scenario())


def test_note_starts_a_sandbox_that_ended_meanwhile(nanoclaw_instance: Instance) -> None:
    """The sandbox ended between the request of the agent and its approval."""

    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            await host.ncl.data("groups", "restart", session.agent_group_id)
            done = await host.approved(session, "groups", "restart", message="You were away.")
            assert done["data"]["restarted"] == [session.id]
            await host.recording.wait_for(session.id, f"{OWN_NOTE} You were away.")

    asyncio.run(scenario())


def test_session_closed_meanwhile_is_not_restarted(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            await host.ncl.data("groups", "restart", session.agent_group_id)
            nanoclaw_instance.db.execute("UPDATE sessions SET status = 'closed'")
            done = await host.approved(session, "groups", "restart", message="Are you there?")
            assert done["data"]["restarted"] == []
            assert len(host.recording.sandboxes) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "groups restart needs --id"),
        ({"id": "AGENT", "message": "\ud800"}, "--message must be a string"),
        ({"id": "AGENT", "message": "x" * 20_001}, "--message must be a string of at most 20000"),
        ({"id": "AGENT", "message": True}, "--message must be a string"),
        ({"id": "AGENT", "rebuild": "perhaps"}, "--rebuild must be true or false"),
    ],
)
def test_invalid_restart_stops_no_sandbox(nanoclaw_instance: Instance, options, says) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            given = options | ({"id": session.agent_group_id} if "id" in options else {})
            code, message = await host.ncl.refusal("groups", "restart", **given)
            assert (code, says in message) == ("invalid-args", True), message
            assert host.running.host.status()["sandboxes"] != []

    asyncio.run(scenario())


def test_rebuild_reports_steps_and_restarts_with_the_image(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = BuildingRuntime()
        async with hosted(nanoclaw_instance, runtime=runtime) as host:
            session = await host.session()
            group_id = session.agent_group_id
            await add_package(host, group_id, apt="jq", pip=["six"])
            frames = await host.ncl.frames("groups", "restart", group_id, rebuild=True, message="New tools.")
            assert [frame["progress"] for frame in frames[:-1]] == ["step 1 of 1"]
            assert frames[-1]["data"] == {"restarted": [session.id], "rebuilt": f"image-of-{group_id}:1"}
            assert runtime.builds == [Packages(apt=["jq"], pip=["six"])]
            await host.recording.wait_for(session.id, "New tools.")
            assert [spec.image for spec in runtime.specs] == [None, f"image-of-{group_id}:1"]

    asyncio.run(scenario())


def test_failed_build_keeps_the_old_image_and_sandboxes(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = BuildingRuntime(
            error="step 2 failed: RUN apt-get install nonsense: Unable to locate package nonsense"
        )
        async with hosted(nanoclaw_instance, runtime=runtime) as host:
            session = await host.session()
            group_id = session.agent_group_id
            await add_package(host, group_id, apt="nonsense")
            await host.ncl.data("groups", "config", "update", group_id, **{"image-tag": "old:1"})
            frames = await host.ncl.frames("groups", "restart", group_id, rebuild=True, message="New tools.")
            assert frames[-1]["error"]["message"] == runtime.error
            assert host.config(group_id).image_tag == "old:1"
            await host.running.channel.say("still there?")
            await host.running.channel.texts(2)
            assert host.recording.sandboxes == [(session.id, ["hello", "still there?"])]
            runtime.error = None
            again = await host.ncl.frames("groups", "restart", group_id, rebuild=True)
            assert again[-1]["data"]["rebuilt"] == f"image-of-{group_id}:2"

    asyncio.run(scenario())


def test_second_build_is_refused_and_messages_are_answered(
    nanoclaw_instance: Instance,
) -> None:
    async def scenario() -> None:
        runtime = BuildingRuntime()
        runtime.may_end.clear()
        async with hosted(nanoclaw_instance, runtime=runtime) as host, host.another() as second:
            group_id = (await host.session()).agent_group_id
            await add_package(host, group_id, npm="@scope/tool")
            building = asyncio.create_task(host.ncl.frames("groups", "restart", group_id, rebuild=True))
            await asyncio.wait_for(runtime.has_begun.wait(), WAIT_S)
            await host.running.channel.say("are you there?")
            await host.running.channel.texts(2)
            code, message = await second.refusal("groups", "restart", group_id, rebuild=True)
            assert (code, "is already being built" in message) == ("invalid-args", True)
            runtime.may_end.set()
            assert (await building)[-1]["data"]["rebuilt"] == f"image-of-{group_id}:1"

    asyncio.run(scenario())


@pytest.mark.defect(number=43)
def test_rebuild_without_packages_resets_the_image(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:  # its runtime builds no images
            session = await host.session()
            await host.ncl.data("groups", "config", "update", session.agent_group_id, **{"image-tag": "stale:1"})
            answer = await host.ncl.data("groups", "restart", session.agent_group_id, rebuild=True)
            assert answer == {"restarted": [session.id], "rebuilt": None}
            assert host.config(session.agent_group_id).image_tag is None

    asyncio.run(scenario())


@pytest.mark.defect(number=43)
def test_image_is_unused_if_its_last_package_was_removed(nanoclaw_instance: Instance) -> None:
    """The package is removed during the build."""

    async def scenario() -> None:
        runtime = BuildingRuntime()
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
            assert "Rebuild again" in frames[-2]["progress"]
            assert host.config(group_id).image_tag is None

    asyncio.run(scenario())


def test_rebuild_without_an_image_builder_is_refused(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            await add_package(host, session.agent_group_id, apt="jq")
            code, message = await host.ncl.refusal("groups", "restart", session.agent_group_id, rebuild=True)
            assert (code, "Install nanoclaw-runtime-docker" in message) == ("invalid-args", True)
            answer = await host.as_agent(session, "groups", "restart", rebuild=True)
            assert answer["error"]["code"] == "invalid-args"

    asyncio.run(scenario())


def test_session_failing_to_restart_does_not_stop_others(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        runtime = UnstoppableRuntime()
        async with hosted(nanoclaw_instance, runtime=runtime) as host:
            first, second = await host.session("r1"), await host.session("r2")
            runtime.unstoppable = {first.id}
            answer = await host.ncl.data("groups", "restart", first.agent_group_id)
            assert answer == {
                "restarted": [second.id],
                "rebuilt": None,
                "failed": {first.id: "the engine does not answer"},
            }
            runtime.unstoppable = set()

    asyncio.run(scenario())
