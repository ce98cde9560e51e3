"""`ncl groups config add-mount`: directories of the host, and what an agent learns of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from agents_host import Hosted, hosted, refused
from attrs import evolve

from nanoclaw_core.settings import AllowedMount
from nanoclaw_core.testing.instance import Instance


@pytest.fixture
def allowed(nanoclaw_instance: Instance, tmp_path: Path) -> Path:
    """Allow a directory for mounts, readable; `writable` below it may also be written."""
    for name in ("shared", "shared/notes", "written"):
        (tmp_path / name).mkdir()
    mounts = [AllowedMount(path=str(tmp_path / "shared")), AllowedMount(path=str(tmp_path / "written"), writable=True)]
    core = evolve(nanoclaw_instance.settings.core, allowed_mounts=mounts)
    nanoclaw_instance.settings = evolve(nanoclaw_instance.settings, core=core)
    return tmp_path


def test_a_mount_is_added_reaches_the_sandbox_and_is_removed(allowed: Path, run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        add = ("groups", "config", "add-mount", group_id)
        await host.ncl.data(*add, path=str(allowed / "shared/notes"))
        (allowed / "link").symlink_to(allowed / "written")
        added = await host.ncl.data(*add, path=str(allowed / "link"), name="drafts", writable=True)
        assert [(one["path"], one["name"], one["writable"]) for one in added["additional_mounts"]] == [
            (str(allowed / "shared/notes"), "notes", False),
            (str(allowed / "written"), "drafts", True),
        ]
        await host.session()
        mounts = {one.target.rpartition("/")[2]: one for one in host.runtime.specs[-1].mounts}
        assert (mounts["notes"].writable, mounts["drafts"].writable) == (False, True)
        left = await host.ncl.data("groups", "config", "remove-mount", group_id, name="notes")
        assert [one["name"] for one in left["additional_mounts"]] == ["drafts"]
        assert "there is no mount 'notes'" in await refused(host, group_id, "remove-mount", name="notes")

    run(scenario)


@pytest.mark.invariant(number=6)
def test_mount_exchanged_after_its_approval_is_left_out(allowed: Path, run) -> None:
    """The sandbox gets the directory that a human approved, or none (audit C3)."""

    async def scenario(host: Hosted, group_id: str) -> None:
        add = ("groups", "config", "add-mount", group_id)
        await host.ncl.data(*add, path=str(allowed / "shared/notes"))
        (allowed / "shared/notes").rename(allowed / "shared/moved")
        (allowed / "shared/notes").symlink_to(allowed / "written")
        await host.session()
        assert not [one for one in host.runtime.specs[-1].mounts if "/extra/" in one.target]

    run(scenario)


def test_mount_of_a_directory_twice_is_refused(allowed: Path, run) -> None:
    """One directory has one name for an agent."""

    async def scenario(host: Hosted, group_id: str) -> None:
        await host.ncl.data("groups", "config", "add-mount", group_id, path=str(allowed / "written"))
        message = await refused(host, group_id, "add-mount", path=str(allowed / "written"), name="again")
        assert message.endswith("is mounted already, as 'written'. Remove that mount first")

    run(scenario)


@pytest.mark.invariant(number=6)
def test_mount_below_what_another_agent_may_write_is_refused(allowed: Path, run) -> None:
    """The other agent could exchange the directory between approval and start (audit C3)."""
    (allowed / "written/below").mkdir()

    async def scenario(host: Hosted, group_id: str) -> None:
        other = (await host.ncl.data("groups", "create", name="Other", folder="other"))["id"]
        await host.ncl.data("groups", "config", "add-mount", other, path=str(allowed / "written"), writable=True)
        message = await refused(host, group_id, "add-mount", path=str(allowed / "written/below"))
        assert "lies above or below" in message

    run(scenario)


def test_warning_59_a_mount_that_no_sandbox_may_have_is_refused_where_it_is_asked_for(allowed: Path, run) -> None:
    for name in ("shared/.SSH", "shared/project/.env", "shared/a:b"):
        (allowed / name).mkdir(parents=True)
    wrong = {
        "shared/.SSH": "looks like a place for keys",
        "shared/project": "contains .env, a place for keys",
        "shared/a:b": "is no usable path",
        "outside": "does not exist",
        ".": "is not below any of core.allowed_mounts, which stand in nanoclaw.toml",
    }

    async def scenario(host: Hosted, group_id: str) -> None:
        for path, says in wrong.items():
            assert says in await refused(host, group_id, "add-mount", path=f"{allowed}/{path}", name="x")
        for name in (".", "..", "a/b", "a:b", ""):
            message = await refused(host, group_id, "add-mount", path=f"{allowed}/shared/notes", name=name)
            assert "is no safe name" in message
        for path in ("shared/notes", ""):
            assert "--path must be" in await refused(host, group_id, "add-mount", path=path)
        message = await refused(host, group_id, "add-mount", path=f"{allowed}/shared/notes", writable=True)
        assert "is allowed for reading alone" in message
        await host.ncl.data("groups", "config", "add-mount", group_id, path=f"{allowed}/shared/notes")
        message = await refused(host, group_id, "add-mount", path=f"{allowed}/written", name="notes")
        assert "there is a mount with the name 'notes' already" in message

    run(scenario)


def test_an_agent_cannot_feel_for_files_of_the_host_with_mounts(allowed: Path, nanoclaw_instance: Instance) -> None:
    async def scenario() -> set[str]:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            paths = (allowed / "shared/notes", "/etc/passwd", "/nowhere", "~/.ssh")
            answers = [
                await host.as_agent(session, "groups", "config", "add-mount", path=str(path), name="x")
                for path in paths
            ]
            return {answer["error"]["code"] for answer in answers}

    assert asyncio.run(scenario()) == {"approval-pending"}


def test_what_an_agent_asks_to_mount_is_looked_at_once_a_human_says_yes(
    allowed: Path, nanoclaw_instance: Instance
) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            ask = ("groups", "config", "add-mount")
            wrong = await host.approved(session, *ask, path="/etc", name="x")
            assert (
                wrong["error"]["message"]
                == "/etc is not below any of core.allowed_mounts, which stand in nanoclaw.toml"
            )
            right = await host.approved(session, *ask, path=f"{allowed}/shared/notes")
            assert right["data"]["additional_mounts"] == host.config(session.agent_group_id).additional_mounts
            assert [one["name"] for one in right["data"]["additional_mounts"]] == ["notes"]

    asyncio.run(scenario())
