"""What of the host an agent may be given (⚠59)."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw_core.sandboxes.mounts import BLOCKED, MountPolicy, MountRefused
from nanoclaw_core.settings import AllowedMount

NO_HOME = Path("/nowhere/instance")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The allowed directory, with `notes` in it."""
    (tmp_path / "shared" / "notes").mkdir(parents=True)
    return tmp_path / "shared"


def policy(*allowed: Path | str, writable: bool = False) -> MountPolicy:
    return MountPolicy(allowed=[AllowedMount(path=str(path), writable=writable) for path in allowed], home=NO_HOME)


def check(shared: Path, path: object, *, allow_writing: bool = False, **more: Any) -> Any:
    return policy(shared, writable=allow_writing).check({"path": str(path), **more})


def refused(shared: Path, path: object, **more: Any) -> str:
    with pytest.raises(MountRefused) as caught:
        check(shared, path, **more)
    return str(caught.value)


def test_a_directory_below_an_allowed_one_is_mounted_under_its_name(shared: Path) -> None:
    mount = check(shared, shared / "notes")
    assert (mount.source, mount.target, mount.writable) == (shared / "notes", "/workspace/extra/notes", False)


def test_the_allowed_directory_itself_may_be_mounted(shared: Path) -> None:
    assert check(shared, shared).source == shared


def test_a_mount_can_have_another_name(shared: Path) -> None:
    assert check(shared, shared / "notes", name="work").target == "/workspace/extra/work"


@pytest.mark.parametrize(
    ("asked", "allowed", "writable"),
    [(True, True, True), (True, False, False), (False, True, False), (None, True, False), ("yes", True, False)],
)
def test_a_mount_is_writable_only_if_both_say_so(shared: Path, asked: object, allowed: bool, writable: bool) -> None:
    assert check(shared, shared / "notes", writable=asked, allow_writing=allowed).writable is writable


def test_nothing_is_allowed_where_nothing_was_allowed(shared: Path) -> None:
    with pytest.raises(MountRefused, match="not below any"):
        policy().check({"path": str(shared)})


def test_what_is_outside_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "shared-too").mkdir()
    for path in (tmp_path, tmp_path / "shared-too", shared / "..", "/etc"):
        assert "not below any" in refused(shared, path)


def test_a_link_that_leads_outside_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (shared / "link").symlink_to(tmp_path / "outside")
    assert "not below any" in refused(shared, shared / "link")


def test_a_link_that_stays_inside_is_mounted_as_what_it_is(shared: Path) -> None:
    (shared / "link").symlink_to(shared / "notes")
    assert check(shared, shared / "link").source == shared / "notes"


def test_an_allowed_directory_reached_by_a_link_counts(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shared)
    assert check(tmp_path / "link", shared / "notes").source == shared / "notes"


def test_an_allowed_directory_that_does_not_exist_allows_nothing(shared: Path) -> None:
    with pytest.raises(MountRefused, match="not below any"):
        policy("/nowhere", "~nobody-here/x").check({"path": str(shared)})


@pytest.mark.parametrize("name", [*BLOCKED, ".SSH", ".Env", "My.Credentials.Backup", "old_ID_RSA.pub"])
def test_warning_59_a_place_for_keys_is_refused_in_any_case(shared: Path, name: str) -> None:
    (shared / name / "inner").mkdir(parents=True)
    assert "place for keys" in refused(shared, shared / name)
    assert "place for keys" in refused(shared, shared / name / "inner")


@pytest.mark.parametrize("name", [".ssh", ".ENV", "id_rsa"])
def test_warning_59_a_directory_that_contains_keys_is_not_mounted_whole(shared: Path, name: str) -> None:
    (shared / "notes" / name).touch()
    assert f"contains {name}, a place for keys" in refused(shared, shared / "notes")


def test_warning_59_a_link_to_a_place_for_keys_is_refused(shared: Path) -> None:
    (shared / ".ssh").mkdir()
    (shared / "harmless").symlink_to(shared / ".ssh")
    assert "place for keys" in refused(shared, shared / "harmless")


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "/etc", "a:b", "a\0", 7])
def test_warning_59_a_name_that_is_no_single_component_is_refused(shared: Path, name: object) -> None:
    assert "no safe name" in refused(shared, shared / "notes", name=name)


def test_warning_59_a_colon_in_the_path_is_refused(shared: Path) -> None:
    (shared / "a:b").mkdir()
    (shared / "link").symlink_to(shared / "a:b")
    assert "no usable path" in refused(shared, shared / "a:b", name="x")
    assert "colon" in refused(shared, shared / "link", name="x")


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "~nobody-here", "a\0b", "/" + "x" * 5000])
def test_a_path_that_does_not_exist_is_refused(shared: Path, path: str) -> None:
    assert refused(shared, path)


def test_a_circle_of_links_is_refused(shared: Path) -> None:
    (shared / "one").symlink_to(shared / "two")
    (shared / "two").symlink_to(shared / "one")
    assert refused(shared, shared / "one")


def test_mount_of_a_file_is_refused(shared: Path) -> None:
    """A file has no directory that could be held open: editors replace it, and the sandbox would keep the old one."""
    (shared / "list.txt").touch()
    assert "is no directory" in refused(shared, shared / "list.txt")


def test_mount_of_a_socket_is_refused(shared: Path) -> None:
    """docker.sock in an allowed directory would make the sandbox root on the machine."""
    descriptor = os.open(shared, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{descriptor}/docker.sock")  # the whole path is longer than an address may be
        os.close(descriptor)
        assert "is no directory" in refused(shared, shared / "docker.sock")


@given(
    st.none()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.sampled_from(["path", "name", "writable"]), st.none() | st.text() | st.integers())
)
def test_any_entry_is_a_mount_or_refused(raw: Any) -> None:
    with pytest.raises(MountRefused):
        policy("/nowhere").check(raw)
