"""Directories with keys, sockets or devices of the host: no agent gets one as a mount (audit S12)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_untrusted.mountable import KEY_PLACES, LEVELS, MAX_ENTRIES
from nanoclaw_wire.socket_path import short_path

from nanoclaw_core.sandboxes.mounts import MountPolicy, MountRefused
from nanoclaw_core.settings import AllowedMount

NO_INSTANCE = Path("/nowhere/instance")
FOUND_MOUNTABLE = [
    ".config/gcloud", ".config/gh", ".claude", ".password-store", ".mozilla", ".local/share/keyrings", ".vault-token",
    ".pgpass", "id_ecdsa", ".m2", ".config/containers", ".config/github-copilot", ".config/hub", ".config/solana",
    ".config/microsoft-edge", ".config/BraveSoftware", ".local/share/kwalletd", ".gnome2/keyrings", ".pki", ".bitcoin",
    ".ethereum", ".electrum", ".s3cfg", ".boto", ".oci",
]  # fmt: skip


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """Return a directory like a user's home, in which the operator allows mounts."""
    (tmp_path / "user" / "work").mkdir(parents=True)
    return tmp_path / "user"


def check(path: Path, *allowed: Path) -> Path:
    roots = [AllowedMount(path=str(root)) for root in allowed]
    return MountPolicy(allowed=roots, home=NO_INSTANCE).check({"path": str(path), "name": "x"}).source


def refusal(path: Path, *allowed: Path) -> str:
    with pytest.raises(MountRefused) as caught:
        check(path, *allowed)
    return str(caught.value)


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("place", [*FOUND_MOUNTABLE, *KEY_PLACES])
def test_mount_in_a_place_for_keys_is_refused(user: Path, place: str) -> None:
    (user / place / "inner").mkdir(parents=True)
    for path in (user / place, user / place / "inner"):
        assert "place for keys" in (text := refusal(path, user)) or "hidden part" in text


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("place", [place for place in (*FOUND_MOUNTABLE, *KEY_PLACES) if place != ".claude"])
def test_mount_above_a_place_for_keys_is_refused(user: Path, place: str) -> None:
    """`.claude` alone is also a folder of projects; `.claude/.credentials.json` in it is a key."""
    (user / place).parent.mkdir(parents=True, exist_ok=True)
    (user / place).touch()
    first = ".docker" if place.startswith(".docker") else place
    assert f"contains {first}, a place for keys" in refusal(user, user.parent)


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("levels", range(LEVELS))
def test_mount_far_above_a_key_is_refused(user: Path, levels: int) -> None:
    folder = user.joinpath("work", *["deeper"] * levels)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ID_RSA").touch()
    name = folder.relative_to(user / "work") / "ID_RSA"
    assert f"contains {name}, a place for keys" in refusal(user / "work", user)


@pytest.fixture(scope="module")
def large_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with more files than a check examines, in the folder `long`."""
    tree = tmp_path_factory.mktemp("large")
    for folder in ("long", "short/deep"):
        (tree / folder).mkdir(parents=True)
    (tree / "short" / "deep" / "id_rsa").touch()
    for number in range(MAX_ENTRIES + 1):
        os.mknod(tree / "long" / f"{number}")
    return tree


def test_key_beside_a_long_folder_is_found(large_tree: Path) -> None:
    """Each level is examined before the next one, so a long folder hides nothing beside it."""
    (large_tree / "id_rsa").touch()
    assert "contains id_rsa" in refusal(large_tree, large_tree)
    (large_tree / "id_rsa").unlink()


def test_mount_of_a_large_tree_is_allowed(large_tree: Path) -> None:
    """The check ends in the second level, and the key in the third one is not found."""
    for path in (large_tree, large_tree / "long"):
        assert check(path, large_tree) == path


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("place", [".hidden", "work/.hidden", ".hidden/work"])
def test_mount_with_a_hidden_part_is_refused(user: Path, place: str) -> None:
    (user / place).mkdir(parents=True)
    assert "has the hidden part .hidden" in refusal(user / place, user)


def test_hidden_part_of_the_allowed_directory_counts(user: Path) -> None:
    """The operator names it, beside a wider directory. Another hidden part of the same name stays refused."""
    (user / ".config" / "app" / "data" / ".config").mkdir(parents=True)
    assert check(user / ".config" / "app" / "data", user, user / ".config" / "app").name == "data"
    assert "hidden part" in refusal(user / ".config" / "app" / "data" / ".config", user / ".config" / "app")


@pytest.mark.defect(number=59)
@pytest.mark.parametrize("place", [".config/gh", ".ssh"])
def test_key_in_an_allowed_hidden_directory_is_refused(user: Path, place: str) -> None:
    (user / place).mkdir(parents=True)
    for allowed in (user / place, user / place.split("/")[0]):
        assert "place for keys" in refusal(user / place, allowed)


def test_link_does_not_name_a_hidden_directory(user: Path) -> None:
    """Another user may have exchanged the link since the operator wrote the settings."""
    (user / ".hidden" / "app").mkdir(parents=True)
    (user / "link").symlink_to(user / ".hidden")
    assert "has the hidden part .hidden" in refusal(user / "link" / "app", user / "link")


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, short_path(path) as short:
        listener.bind(short)


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can create devices")


@pytest.mark.parametrize("put", [listen, device, os.mkfifo])
def test_mount_that_holds_a_special_file_is_refused(user: Path, put: object) -> None:
    """A sandbox could connect to a socket of the host, even through a read-only mount."""
    (user / "work" / "state").mkdir()
    put(user / "work" / "state" / "special")  # type: ignore[operator]
    assert "contains state/special, a pipe, a socket or a device" in refusal(user / "work", user)


@pytest.mark.parametrize("path", ["/dev", "/dev/shm", "/proc", "/proc/self", "/sys", "/sys/kernel", "/run", "/var/run"])
def test_mount_of_a_system_directory_is_refused(path: str) -> None:
    if not Path(path).is_dir():
        pytest.skip(f"this machine has no {path}")
    assert "processes, devices or sockets of the host" in refusal(Path(path), Path("/"))


def test_mount_of_the_root_is_refused() -> None:
    assert "shows /" in refusal(Path("/"), Path("/"))


def test_mount_in_the_runtime_directory_is_refused(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets of the session appear in it later, too."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(user / "work"))
    assert "sockets of the host" in refusal(user / "work", user)


def test_mount_of_the_home_directory_is_refused(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs put keys into it under names that no list has."""
    monkeypatch.setenv("HOME", str(user))
    for path in (user, user.parent):
        assert f"shows the home directory {user}" in refusal(path, user.parent)
    assert check(user / "work", user) == user / "work"


@pytest.fixture
def kernel_files(user: Path) -> Iterator[Path]:
    """Mount a second `/proc`, in a directory with a blank, as a tree for another root would have it."""
    place = user / "work" / "another root" / "proc"
    place.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "proc", "none", place], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_mount_that_shows_processes_is_refused(user: Path, kernel_files: Path) -> None:
    for path in (kernel_files, kernel_files / "self", user / "work"):
        assert f"shows {kernel_files}, which has processes" in refusal(path, user)
