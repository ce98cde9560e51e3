"""Rules for directories that a sandbox may see: no places for keys, no special files, nothing of the kernel."""

from __future__ import annotations

import contextlib
import os
from itertools import chain, islice
from pathlib import Path

# Usual places for keys. A path with one of them in any part is never mounted, nor a directory that holds one.
KEY_PLACES = (
    ".ssh", ".gnupg", ".gpg", ".aws", ".azure", ".gcloud", ".kube", ".docker", "credentials", ".env", ".netrc", ".m2",
    ".npmrc", ".pypirc", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "private_key", ".secret", ".pgpass", ".my.cnf",
    ".config/gcloud", ".config/gh", ".config/containers", ".config/rclone", ".config/op", ".config/google-chrome",
    ".config/chromium", ".mozilla", ".thunderbird", ".claude.json", ".claude/.credentials.json", ".codex", ".gemini",
    ".local/share/keyrings", ".password-store", ".vault-token", ".git-credentials", ".terraform.d",
)  # fmt: skip
LEVELS, MAX_ENTRIES = 3, 2_000  # of a mounted tree, which may be a whole disk; the check takes a few milliseconds
_HELD = tuple(f"/{place}" for place in KEY_PLACES)
_SYSTEM = ("/dev", "/proc", "/sys", "/run", "/var/run")
_KERNEL_TYPES = ("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf")
_MOUNTS = Path("/proc/self/mountinfo")


def is_in_key_place(path: Path) -> bool:
    """Return True if a part of a path looks like a usual place for keys."""
    return any(place in str(path).lower() for place in KEY_PLACES)


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
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111  # Path.home raises for a user without one
    return f"the home directory {home}" if home.is_relative_to(source) else ""


def forbidden_in(directory: Path) -> str:
    """Return a place for keys, a pipe, a socket or a device in a directory; an empty text if none is found.

    Only the first `MAX_ENTRIES` entries of the first `LEVELS` levels are examined, the upper levels first, and no link
    is followed, because it leads to nothing in a sandbox.
    """
    level, left = [os.fspath(directory)], MAX_ENTRIES
    for _ in range(LEVELS):
        entries = list(islice(chain.from_iterable(map(_entries, level)), left))
        level, left = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)], left - len(entries)
        for entry in entries:
            is_key = entry.path.lower().endswith(_HELD)
            if is_key or not (entry.is_symlink() or entry.is_file() or entry.is_dir()):
                kind = "a place for keys" if is_key else "a pipe, a socket or a device"
                return f"{os.path.relpath(entry.path, directory)}, {kind}"
    return ""


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:  # removed, or closed to the host
        return list(islice(entries, MAX_ENTRIES))
    return []
