"""Which directories of the host an agent may be given: only below what the settings allow, and never keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanoclaw_wire.layout import SANDBOX_EXTRA, is_safe_name

from nanoclaw_core.descriptors.runtimes import Mount
from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.settings import AllowedMount

# Names that hold keys on people's machines; a path with one of them in any part is never mounted, whatever is allowed.
BLOCKED = (
    ".ssh", ".gnupg", ".gpg", ".aws", ".azure", ".gcloud", ".kube", ".docker", "credentials", ".env", ".netrc",
    ".npmrc", ".pypirc", "id_rsa", "id_ed25519", "private_key", ".secret",
)  # fmt: skip


class MountRefused(InvalidArguments):
    """A mount that is not allowed; the message says why."""


def check_mount(raw: Mapping[str, Any], allowed: Sequence[AllowedMount]) -> Mount:
    """Check one entry of a config's `additional_mounts`.

    Args:
        raw: `{path, name?, writable?}`.

    Raises:
        MountRefused: It is malformed, outside what is allowed, or holds keys.
    """
    if not isinstance(raw, Mapping):
        raise MountRefused(f"a mount is an object with a `path`, not {raw!r}")
    path, name = raw.get("path"), raw.get("name")
    if not isinstance(path, str) or not path or ":" in path:
        raise MountRefused(f"the path {path!r} is no usable path")
    try:
        source = Path(path).expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no such home; ValueError: NUL in it
        raise MountRefused(f"the path {path!r} does not exist") from error
    if ":" in str(source):
        raise MountRefused(f"{path} leads to {source}, and no engine takes a colon in a path")
    name = source.name if name is None else name
    if not isinstance(name, str) or not is_safe_name(name) or ":" in name:
        raise MountRefused(f"the name {name!r} is no safe name")
    if any(blocked in part.lower() for part in source.parts for blocked in BLOCKED):
        raise MountRefused(f"{path} looks like a place for keys")
    root = next((one for one in allowed if _is_inside(source, one)), None)
    if root is None:
        raise MountRefused(f"{path} is not below any of core.allowed_mounts, which stand in nanoclaw.toml")
    if source.is_dir() and _holds_keys(source):
        raise MountRefused(f"{path} contains a place for keys; mount a directory below it instead")
    return Mount(
        source=source, target=f"{SANDBOX_EXTRA}/{name}", writable=raw.get("writable") is True and root.writable
    )


def _is_inside(source: Path, allowed: AllowedMount) -> bool:
    try:
        return source.is_relative_to(Path(allowed.path).expanduser().resolve(strict=True))
    except (OSError, RuntimeError, ValueError):
        return False  # an allowed directory that does not exist allows nothing


def _holds_keys(directory: Path) -> bool:
    """Only the first level: the whole tree could be a disk. Keys live at the top of the homes they are in."""
    try:
        return any(entry.name.lower() in BLOCKED for entry in directory.iterdir())
    except OSError as error:
        raise MountRefused(f"{directory} cannot be looked into: {error.strerror}") from error
