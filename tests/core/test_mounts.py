"""Mounts: which directories of the host an agent may get (⚠59)."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_untrusted.mountable import KEY_PLACES

from nanoclaw_core.sandboxes.mounts import MountPolicy, MountRefused
from nanoclaw_core.settings import AllowedMount

NO_HOME = Path("/nowhere/instance")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return the allowed directory, which contains `notes`."""
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


def test_mount_below_an_allowed_directory_keeps_its_name(shared: Path) -> None:
    mount = check(shared, shared / "notes")
    assert (mount.source, mount.target, mount.writable) == (shared / "notes", "/workspace/extra/notes", False)


def test_mount_of_the_allowed_directory_is_allowed(shared: Path) -> None:
    assert check(shared, shared).source == shared


def test_mount_can_have_another_name(shared: Path) -> None:
    assert check(shared, shared / "notes", name="work").target == "/workspace/extra/work"


@pytest.mark.parametrize(
    ("asked", "allowed", "writable"),
    [(True, True, True), (True, False, False), (False, True, False), (None, True, False), ("yes", True, False)],
)
def test_mount_is_writable_if_config_and_settings_agree(
    shared: Path, asked: object, allowed: bool, writable: bool
) -> None:
    assert check(shared, shared / "notes", writable=asked, allow_writing=allowed).writable is writable


def test_mount_without_allowed_directories_is_refused(shared: Path) -> None:
    with pytest.raises(MountRefused, match="not below a directory of"):
        policy().check({"path": str(shared)})


def test_mount_outside_allowed_directories_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "shared-too").mkdir()
    for path in (tmp_path, tmp_path / "shared-too", shared / "..", "/etc"):
        assert "not below a directory of" in refused(shared, path)


def test_mount_of_a_link_to_the_outside_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (shared / "link").symlink_to(tmp_path / "outside")
    assert "not below a directory of" in refused(shared, shared / "link")


def test_mount_of_a_link_inside_is_resolved(shared: Path) -> None:
    (shared / "link").symlink_to(shared / "notes")
    assert check(shared, shared / "link").source == shared / "notes"


def test_allowed_directory_may_be_a_link(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shared)
    assert check(tmp_path / "link", shared / "notes").source == shared / "notes"


def test_missing_allowed_directory_allows_nothing(shared: Path) -> None:
    with pytest.raises(MountRefused, match="not below a directory of"):
        policy("/nowhere", "~no-such-user/x").check({"path": str(shared)})


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("name", [*KEY_PLACES, ".SSH", ".Env", "Credentials", "ID_RSA"])
def test_mount_of_a_key_directory_is_refused_in_any_case(shared: Path, name: str) -> None:
    (shared / name / "inner").mkdir(parents=True)
    assert "place for keys" in refused(shared, shared / name)
    assert "place for keys" in refused(shared, shared / name / "inner")


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("name", [".ssh", ".ENV", "id_rsa"])
def test_mount_of_a_directory_with_keys_is_refused(shared: Path, name: str) -> None:
    (shared / "notes" / name).touch()
    assert f"contains {name}, a place for keys" in refused(shared, shared / "notes")


@pytest.mark.defect(number=59)
def test_mount_of_a_link_to_keys_is_refused(shared: Path) -> None:
    (shared / ".ssh").mkdir()
    (shared / "harmless").symlink_to(shared / ".ssh")
    assert "place for keys" in refused(shared, shared / "harmless")


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("name", [".", "..", "", "a/b", "/etc", "a:b", "a\0", 7])
def test_mount_name_with_several_components_is_refused(shared: Path, name: object) -> None:
    assert "must be a safe file name" in refused(shared, shared / "notes", name=name)


@pytest.mark.defect(number=59)
def test_mount_path_with_a_colon_is_refused(shared: Path) -> None:
    (shared / "a:b").mkdir()
    (shared / "link").symlink_to(shared / "a:b")
    assert "must be a path without a colon" in refused(shared, shared / "a:b", name="x")
    assert "colon" in refused(shared, shared / "link", name="x")


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "~no-such-user", "a\0b", "/" + "x" * 5000])
def test_mount_of_a_missing_path_is_refused(shared: Path, path: str) -> None:
    assert refused(shared, path)


def test_mount_of_a_link_cycle_is_refused(shared: Path) -> None:
    (shared / "one").symlink_to(shared / "two")
    (shared / "two").symlink_to(shared / "one")
    assert refused(shared, shared / "one")


def test_mount_of_a_file_is_refused(shared: Path) -> None:
    """Editors replace a file on saving, so a sandbox with a mounted file would keep the old one."""
    (shared / "list.txt").touch()
    assert "is not a directory" in refused(shared, shared / "list.txt")


def test_mount_of_a_socket_is_refused(shared: Path) -> None:
    """A mounted docker.sock would give the sandbox root rights on the machine."""
    descriptor = os.open(shared, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{descriptor}/docker.sock")  # the full path exceeds the limit of a socket address
        os.close(descriptor)
        assert "is not a directory" in refused(shared, shared / "docker.sock")


@given(
    st.none()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.sampled_from(["path", "name", "writable"]), st.none() | st.text() | st.integers())
)
def test_malformed_mount_entry_is_refused(raw: Any) -> None:
    with pytest.raises(MountRefused):
        policy("/nowhere").check(raw)
