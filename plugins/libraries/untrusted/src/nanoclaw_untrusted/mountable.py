"""Rules for directories that a sandbox may see: no places for keys, no special files, nothing of the kernel."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Iterable
from itertools import chain, islice
from pathlib import Path

# Usual places for keys, as whole names. A path with one in any part is never mounted, nor a directory that holds one.
# `PROJECT_PLACES` are also usual in projects: a directory that holds one is mounted if the operator names it.
PROJECT_PLACES = (".env", ".npmrc", ".docker", "credentials")
KEY_PLACES = (
    *PROJECT_PLACES, ".docker/config.json",
    ".ssh", ".gnupg", ".gpg", ".aws", ".azure", ".gcloud", ".kube", ".netrc", ".m2", ".pypirc", ".git-credentials",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "private_key", ".secret", ".pgpass", ".my.cnf", ".vault-token",
    ".config/gcloud", ".config/gh", ".config/hub", ".config/glab-cli", ".config/github-copilot", ".config/doctl",
    ".config/containers", ".config/rclone", ".config/op", ".config/sops", ".config/age", ".config/solana",
    ".config/google-chrome", ".config/chromium", ".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi",
    ".mozilla", ".librewolf", ".thunderbird", ".claude.json", ".claude/.credentials.json", ".codex", ".gemini",
    ".local/share/keyrings", ".local/share/kwalletd", ".gnome2/keyrings", ".password-store", ".pki", ".terraform.d",
    ".cargo/credentials.toml", ".s3cfg", ".boto", ".oci", ".bitcoin", ".ethereum", ".electrum", ".monero",
)  # fmt: skip
LEVELS, MAX_ENTRIES = 3, 2_000  # of a mounted tree, which may be a whole disk; the check takes a few milliseconds
# In a project, `kubeconfig` may be a folder of code, `.config/Code` settings, and `.env.example` has no keys.
_KEY_FILES = ("kubeconfig", "credentials.json")
_OF_HOMES = re.compile(r"/(root|(home|users)/[^/]+)/\.config/code(/|$)")
_ENV = re.compile(r"\.env\.(?!(.*\.)?(example|sample|template|dist|defaults?)$).+")
_HELD = tuple(f"/{place}".casefold() for place in KEY_PLACES)
_SYSTEM = ("/dev", "/proc", "/sys", "/run", "/var/run")
_KERNEL_TYPES = ("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf")
_MOUNTS = Path("/proc/self/mountinfo")
_Identity = tuple[int, int]  # device and inode
_KEYS = "a place for keys"
_OF_PROJECT = f"{_KEYS}, allowed only if core.allowed_mounts names"


def is_in_key_place(path: Path) -> bool:
    """Return True if a path leads through a usual place for keys, or through another name of the user's own one.

    Args:
        path: An absolute path without links.
    """
    text, own = f"{path}/".casefold(), _own_places()
    is_named = any(f"{place}/" in text for place in _HELD) or _OF_HOMES.match(text) is not None
    return is_named or any(_identity(part) in own for part in (path, *path.parents))


def hidden_part(source: Path, allowed: str) -> str | None:
    """Return a hidden part of a path that an allowed directory does not name.

    Args:
        source: An absolute path without links.
        allowed: The path of the allowed directory, as a person wrote it. It may begin with `~` and have links.

    Returns:
        An empty text if there is no such part; None if the path is not inside the allowed directory.
    """
    try:
        named = Path(allowed).expanduser()
        root = named.resolve(strict=True)
        below = source.relative_to(root).parts
    except (OSError, RuntimeError, ValueError):
        return None  # a missing allowed directory allows nothing
    unnamed = [part for part in root.parts if part not in named.parts]  # of a link's target
    return next((part for part in (*unnamed, *below) if part.startswith(".")), "")


def shown_of_system(source: Path) -> str:
    """Return the place of the system, or the home directory, that a directory would show; an empty text if none."""
    places = [Path(name).resolve() for name in (*_SYSTEM, os.environ.get("XDG_RUNTIME_DIR") or "/run")]
    with contextlib.suppress(OSError):  # other systems than Linux have no such file
        mounts = [line.split() for line in _MOUNTS.read_text(errors="replace").splitlines()]
        places += [Path(item[4].replace(r"\040", " ")) for item in mounts if item[item.index("-") + 1] in _KERNEL_TYPES]
    for place in places:
        if source.is_relative_to(place) or place.is_relative_to(source):
            return f"{place}, which has processes, devices or sockets of the host"
    home = _home().resolve()
    is_home = home.is_relative_to(source) or _identity(source) == _identity(home)  # a bind mount gives it another name
    return f"the home directory {home}" if is_home else ""


def forbidden_in(directory: Path, allowed: Iterable[str] = ()) -> str:
    """Return a place for keys, a pipe, a socket or a device in a directory; an empty text if none is found.

    Only the first `MAX_ENTRIES` entries of the first `LEVELS` levels are examined, the upper levels first, and no link
    is followed, because it leads to nothing in a sandbox.

    Args:
        directory: An absolute path without links.
        allowed: The paths of the allowed directories, as a person wrote them. If one is exactly this directory, it may
            hold `.env`, `.npmrc` and other places of projects.
    """
    is_named = directory in (Path(os.path.expanduser(path)) for path in allowed)  # noqa: PTH111  # as in `_home`
    level, left, own = [os.fspath(directory)], MAX_ENTRIES, _own_places("")
    for _ in range(LEVELS):
        entries = list(islice(chain.from_iterable(map(_entries, level)), left))
        level, left = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)], left - len(entries)
        folders = set(level)
        for entry in entries:
            if kind := _kind(entry, is_folder=entry.path in folders, own=own):
                if kind != _OF_PROJECT:
                    return f"{os.path.relpath(entry.path, directory)}, {kind}"
                if not is_named:
                    return f"{os.path.relpath(entry.path, directory)}, {kind} {directory} itself"
    return ""


def _kind(entry: os.DirEntry[str], *, is_folder: bool, own: Collection[_Identity]) -> str:
    """Return the kind of an entry that no sandbox may see; an empty text for an ordinary one."""
    name, path = entry.name.casefold(), entry.path.casefold()
    if not (is_folder or entry.is_symlink() or entry.is_file()):
        return "a pipe, a socket or a device"
    if is_folder and _identity(entry.path) in own:
        return _KEYS
    if (name in PROJECT_PLACES and (is_folder or name != "credentials")) or _ENV.fullmatch(name):
        return _OF_PROJECT
    is_key_file = not is_folder and name in _KEY_FILES
    return _KEYS if is_key_file or path.endswith(_HELD) or _OF_HOMES.match(path) else ""


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home raises for a user without one


def _own_places(*more: str) -> set[_Identity]:
    """Return the identities of the directories for keys in the user's home directory, which may have other names."""
    identities = (_identity(_home() / place) for place in (*KEY_PLACES, ".config/Code", *more))
    return {identity for identity in identities if identity is not None}


def _identity(directory: Path | str) -> _Identity | None:
    with contextlib.suppress(OSError):  # missing, or closed to the host
        status = Path(directory).stat()
        return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
    return None


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:  # removed, or closed to the host
        return list(islice(entries, MAX_ENTRIES))
    return []
