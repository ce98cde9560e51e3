"""Rules for mounts: they keep their approved identity, do not nest, and never show the instance (I6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nanoclaw_core import Mount, SandboxRefused, hold_mounts, require_mounted
from nanoclaw_core.descriptors.sandboxes import DirectoryIdentity
from nanoclaw_core.sandboxes.mounts import MountPolicy, MountRefused, require_unexposed
from nanoclaw_core.settings import AllowedMount

pytestmark = pytest.mark.invariant(number=6)


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """Make the allowed directory, with `team/notes` and `other` in it, beside an instance directory."""
    for name in ("allowed/team/notes", "allowed/other", "instance/run"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "allowed"


def policy(allowed: Path, *given: dict[str, Any]) -> MountPolicy:
    return MountPolicy(
        allowed=[AllowedMount(path=str(allowed.parent), writable=True)], home=allowed.parent / "instance", given=given
    )


def entry(path: Path, *, writable: bool = False) -> dict[str, Any]:
    return {"path": str(path), "name": path.name, "writable": writable}


@pytest.mark.parametrize(
    ("asked", "has"),
    [("team/notes", "team"), ("team", "team/notes")],
    ids=["below", "above"],
)
@pytest.mark.parametrize(("asks_to_write", "may_write"), [(False, True), (True, False), (True, True)])
def test_mount_nested_with_a_writable_one_is_refused(
    allowed: Path, asked: str, has: str, asks_to_write: bool, may_write: bool
) -> None:
    """A sandbox that can write above a mount could replace its directory after the approval."""
    rules = policy(allowed, entry(allowed / has, writable=may_write))
    with pytest.raises(MountRefused, match="lies above or below"):
        rules.check(entry(allowed / asked, writable=asks_to_write))


def test_mount_nested_with_a_readable_one_is_allowed(allowed: Path) -> None:
    """Read-only mounts cannot change each other."""
    assert policy(allowed, entry(allowed / "team")).check(entry(allowed / "team/notes")).source.name == "notes"


def test_mount_of_the_same_directory_may_be_shared(allowed: Path) -> None:
    """Two agents may write to one directory."""
    rules = policy(allowed, entry(allowed / "team", writable=True))
    assert rules.check(entry(allowed / "team", writable=True)).writable


def test_mount_nested_through_a_link_is_refused(allowed: Path) -> None:
    """A link to the writable directory counts as that directory."""
    (allowed / "link").symlink_to(allowed / "team")
    with pytest.raises(MountRefused, match="lies above or below"):
        policy(allowed, entry(allowed / "link", writable=True)).check(entry(allowed / "team/notes"))


@pytest.mark.parametrize("name", ["instance", "instance/run", "."])
def test_mount_of_the_instance_is_refused(allowed: Path, name: str) -> None:
    """A read-only mount is enough to connect to the control socket."""
    with pytest.raises(MountRefused, match="the instance directory"):
        policy(allowed).check({"path": str(allowed.parent / name), "name": "x"})


@pytest.mark.parametrize("name", ["data", "of-a-later-version"])
def test_mount_of_a_part_of_the_instance_is_refused(allowed: Path, name: str) -> None:
    """A linked part of the instance below an allowed directory still belongs to the instance."""
    (allowed.parent / "instance" / name).symlink_to(allowed / "team")
    with pytest.raises(MountRefused, match="lies in the instance directory"):
        policy(allowed).check(entry(allowed / "team"))


def test_mount_of_another_directory_than_approved_is_refused(allowed: Path) -> None:
    """A directory that replaced the approved one is not mounted."""
    approved = policy(allowed).check(entry(allowed / "team")).identity
    assert approved is not None
    (allowed / "team").rename(allowed / "moved")
    (allowed / "team").mkdir()
    with pytest.raises(MountRefused, match="not the directory that was approved"):
        policy(allowed).check(entry(allowed / "team") | {"identity": approved.to_text()})


def test_mount_exchanged_for_a_link_is_refused(allowed: Path) -> None:
    """A link that replaced the approved directory is not followed."""
    approved = policy(allowed).check(entry(allowed / "team")).identity
    assert approved is not None
    (allowed / "team").rename(allowed / "moved")
    (allowed / "team").symlink_to(allowed / "other")
    with pytest.raises(MountRefused, match="not the directory that was approved"):
        policy(allowed).check(entry(allowed / "team") | {"identity": approved.to_text()})


def test_identity_of_another_boot_compares_inodes() -> None:
    """The kernel may renumber devices at a reboot, so device numbers count within one boot only."""
    here = DirectoryIdentity(device=1, inode=7, boot="today")
    assert here.matches_approved(DirectoryIdentity(device=2, inode=7, boot="yesterday"))
    assert not here.matches_approved(DirectoryIdentity(device=2, inode=7, boot="today"))
    assert not here.matches_approved(DirectoryIdentity(device=1, inode=8, boot="yesterday"))


@pytest.mark.parametrize("text", ["", "1", "1:2", "a:2:x", "1:b:x", "-1:2:x", "1:2 :x"])
def test_identity_in_another_form_is_refused(allowed: Path, text: str) -> None:
    """A row with an invalid identity is refused, not mounted without a check."""
    with pytest.raises(MountRefused, match="must be device:inode:boot"):
        policy(allowed).check(entry(allowed / "team") | {"identity": text})


def test_held_mount_with_a_link_below_its_root_is_refused(allowed: Path) -> None:
    """The path may be exchanged between check and start, so opening it follows no link."""
    mount = policy(allowed).check(entry(allowed / "team/notes"))
    (allowed / "team").rename(allowed / "moved")
    (allowed / "team").symlink_to(allowed / "moved")
    with pytest.raises(SandboxRefused, match="team/notes"), hold_mounts([mount]):
        pass


def test_held_mount_of_another_directory_is_refused(allowed: Path) -> None:
    """A directory that was exchanged after the check is not held."""
    mount = policy(allowed).check(entry(allowed / "team"))
    (allowed / "team").rename(allowed / "moved")
    (allowed / "team").mkdir()
    with pytest.raises(SandboxRefused, match="not the directory that was approved"), hold_mounts([mount]):
        pass


def test_mounted_directory_that_is_not_held_is_refused(allowed: Path, tmp_path: Path) -> None:
    """An engine that opens mounts by path may have opened another directory."""
    held_mount = Mount(source=allowed / "team", target="/workspace/extra/team")
    root = tmp_path / "root"
    (root / "workspace/extra").mkdir(parents=True)
    (root / "workspace/extra/team").symlink_to(allowed / "team")
    with hold_mounts([held_mount]) as held:
        require_mounted(held, root)
        (root / "workspace/extra/team").unlink()
        (root / "workspace/extra/team").symlink_to(allowed / "other")
        with pytest.raises(SandboxRefused, match="another directory"):
            require_mounted(held, root)


def test_instance_inside_a_shown_directory_is_refused(allowed: Path) -> None:
    """A virtual environment that contains the instance would show the control socket to each sandbox."""
    home = allowed.parent / "instance"
    for shown in (home, home / "run", allowed.parent):
        with pytest.raises(SandboxRefused, match=r"the instance directory.* Move the instance directory"):
            require_unexposed([shown], [], home)


def test_own_directories_of_the_session_may_be_shown(allowed: Path) -> None:
    """A sandbox sees only its session's directories of the instance."""
    home = allowed.parent / "instance"
    require_unexposed([home / "run", allowed], [home / "run"], home)
    with pytest.raises(SandboxRefused, match="lies in the instance directory"):
        require_unexposed([home / "run"], [home / "other"], home)


def test_link_to_the_instance_is_refused(allowed: Path) -> None:
    """A shown directory is resolved before it is compared."""
    (allowed / "link").symlink_to(allowed.parent / "instance")
    with pytest.raises(SandboxRefused, match="the instance directory"):
        require_unexposed([allowed / "link"], [], policy(allowed).home)
