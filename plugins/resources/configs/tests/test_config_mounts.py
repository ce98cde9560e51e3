"""Tests of `ncl groups config add-mount` and `remove-mount`."""

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
    """Return a directory. Mounts may read its `shared` and write its `written`."""
    for name in ("shared", "shared/notes", "written"):
        (tmp_path / name).mkdir()
    mounts = [AllowedMount(path=str(tmp_path / "shared")), AllowedMount(path=str(tmp_path / "written"), writable=True)]
    core = evolve(nanoclaw_instance.settings.core, allowed_mounts=mounts)
    nanoclaw_instance.settings = evolve(nanoclaw_instance.settings, core=core)
    return tmp_path


def test_added_mount_reaches_the_sandbox_until_removed(allowed: Path, run) -> None:
    async def scenario(host: Hosted, group_id: str) -> None:
        add = ("groups", "config", "add-mount", group_id)
        await host.ncl.data(*add, path=str(allowed / "shared/notes"))
        (allowed / "link").symlink_to(allowed / "written")
        added = await host.ncl.data(*add, path=str(allowed / "link"), name="drafts", writable=True)
        assert [(mount["path"], mount["name"], mount["writable"]) for mount in added["additional_mounts"]] == [
            (str(allowed / "shared/notes"), "notes", False),
            (str(allowed / "written"), "drafts", True),
        ]
        await host.session()
        mounts = {mount.target.rpartition("/")[2]: mount for mount in host.runtime.specs[-1].mounts}
        assert (mounts["notes"].writable, mounts["drafts"].writable) == (False, True)
        left = await host.ncl.data("groups", "config", "remove-mount", group_id, name="notes")
        assert [mount["name"] for mount in left["additional_mounts"]] == ["drafts"]
        assert "the config has no mount 'notes'" in await refused(host, group_id, "remove-mount", name="notes")

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
        assert not [mount for mount in host.runtime.specs[-1].mounts if "/extra/" in mount.target]

    run(scenario)


def test_mount_of_a_directory_twice_is_refused(allowed: Path, run) -> None:
    """One directory has one name for an agent."""

    async def scenario(host: Hosted, group_id: str) -> None:
        await host.ncl.data("groups", "config", "add-mount", group_id, path=str(allowed / "written"))
        message = await refused(host, group_id, "add-mount", path=str(allowed / "written"), name="again")
        assert message.endswith("is already mounted as 'written'. Remove that mount first")

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


@pytest.mark.defect(number=59)
def test_forbidden_mount_is_refused_when_requested(allowed: Path, run) -> None:
    for name in ("shared/.SSH", "shared/project/.env", "shared/a:b"):
        (allowed / name).mkdir(parents=True)
    wrong = {
        "shared/.SSH": "looks like a place for keys",
        "shared/project": "contains .env, a place for keys",
        "shared/a:b": "path: must be a path without a colon",
        "outside": "path: must exist",
        ".": "is not below a directory of core.allowed_mounts. Add one to nanoclaw.toml and restart.",
    }

    async def scenario(host: Hosted, group_id: str) -> None:
        for path, says in wrong.items():
            assert says in await refused(host, group_id, "add-mount", path=f"{allowed}/{path}", name="x")
        for name in (".", "..", "a/b", "a:b", ""):
            message = await refused(host, group_id, "add-mount", path=f"{allowed}/shared/notes", name=name)
            assert "must be a safe file name" in message
        for path in ("shared/notes", ""):
            assert "--path must be" in await refused(host, group_id, "add-mount", path=path)
        message = await refused(host, group_id, "add-mount", path=f"{allowed}/shared/notes", writable=True)
        assert "only for reading" in message
        await host.ncl.data("groups", "config", "add-mount", group_id, path=f"{allowed}/shared/notes")
        message = await refused(host, group_id, "add-mount", path=f"{allowed}/written", name="notes")
        assert "another mount is named 'notes'" in message

    run(scenario)


def test_agent_cannot_probe_host_files_with_mounts(allowed: Path, nanoclaw_instance: Instance) -> None:
    """Existing, missing and forbidden paths get the same answer before the approval."""

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


def test_mount_of_an_agent_is_checked_after_its_approval(allowed: Path, nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with hosted(nanoclaw_instance) as host:
            session = await host.session()
            ask = ("groups", "config", "add-mount")
            wrong = await host.approved(session, *ask, path="/etc", name="x")
            assert (
                wrong["error"]["message"]
                == "/etc is not below a directory of core.allowed_mounts. Add one to nanoclaw.toml and restart."
            )
            right = await host.approved(session, *ask, path=f"{allowed}/shared/notes")
            assert right["data"]["additional_mounts"] == host.config(session.agent_group_id).additional_mounts
            assert [mount["name"] for mount in right["data"]["additional_mounts"]] == ["notes"]

    asyncio.run(scenario())
