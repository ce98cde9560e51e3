"""Which directories of the host an agent may be given.

Three rules, checked when a mount is asked for and again at every start of a sandbox:

1. The settings allow it, and it is no place for keys (⚠59).
2. It shows nothing of the instance directory: the operator's socket and the central database lie there.
3. It lies neither above nor below a directory that a sandbox may write. Otherwise that sandbox could exchange a part of
   the path between a human's approval and the mount. Two agents may share one and the same directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from attrs import frozen
from nanoclaw_wire.layout import SANDBOX_EXTRA, is_safe_name

from nanoclaw_core.descriptors.sandboxes import DirectoryIdentity, Mount
from nanoclaw_core.errors import InvalidArguments, SandboxRefused
from nanoclaw_core.sandboxes.held_mounts import boot_id, identity_of, lineage_of, open_directory
from nanoclaw_core.settings import AllowedMount, Settings
from nanoclaw_core.store import agents

# Names that hold keys on people's machines; a path with one of them in any part is never mounted, whatever is allowed.
BLOCKED = (
    ".ssh", ".gnupg", ".gpg", ".aws", ".azure", ".gcloud", ".kube", ".docker", "credentials", ".env", ".netrc",
    ".npmrc", ".pypirc", "id_rsa", "id_ed25519", "private_key", ".secret",
)  # fmt: skip


PARTS = ("data", "run", "logs", "groups", "sessions", "received")


class MountRefused(InvalidArguments):
    """A mount that is not allowed; the message says why."""


@frozen(kw_only=True)
class MountPolicy:
    """Decides about mounts.

    Args:
        allowed: The operator's `core.allowed_mounts`.
        home: The instance directory.
        given: The `additional_mounts` entries of all agent groups, the one that is checked among them or not.
    """

    allowed: Sequence[AllowedMount]
    home: Path
    given: Sequence[Mapping[str, Any]] = ()

    def check(self, raw: Mapping[str, Any]) -> Mount:
        """Check one entry of a config's `additional_mounts`.

        Args:
            raw: `{path, name?, writable?, identity?}`; other keys are ignored.

        Returns:
            The mount, with the identity in the entry, or without one the identity that the directory has now.

        Raises:
            MountRefused: It is malformed, breaks a rule, or is not the directory that was approved.
        """
        source, name = _source_and_name(raw)
        if any(blocked in part.lower() for part in source.parts for blocked in BLOCKED):
            raise MountRefused(f"{raw['path']} looks like a place for keys")
        root = next((one for one in self.allowed if _is_inside(source, one)), None)
        if root is None:
            leads = "" if str(source) == raw["path"] else f" leads to {source}, which"
            raise MountRefused(
                f"{raw['path']}{leads} is not below any of core.allowed_mounts, which stand in nanoclaw.toml"
            )
        lineage = _lineage(source)
        if keys := _keys_in(source):
            raise MountRefused(f"{raw['path']} contains {keys}, a place for keys; mount a directory below it instead")
        if exposed := exposure_of(lineage, self.home):
            raise MountRefused(f"{raw['path']} {exposed}; no sandbox may see that")
        is_writable = raw.get("writable") is True and root.writable
        self._require_apart(raw["path"], lineage, is_writable=is_writable)
        approved = _approved(raw)
        if approved is not None and not lineage[-1].matches_approved(approved):
            raise MountRefused(
                f"{raw['path']} is not the directory that was approved. Remove the mount, and add it again"
            )
        return Mount(
            source=source,
            target=f"{SANDBOX_EXTRA}/{name}",
            writable=is_writable,
            identity=approved or lineage[-1],
        )

    def _require_apart(self, path: str, lineage: Sequence[DirectoryIdentity], *, is_writable: bool) -> None:
        for other in self.given:
            if not is_writable and other.get("writable") is not True:
                continue
            try:
                others = lineage_of(Path(str(other.get("path"))).expanduser())
            except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError):
                continue  # its directory is gone: it is refused at its own start
            except OSError as error:
                raise MountRefused(
                    f"{other['path']}, another mount, cannot be looked into: {error.strerror}"
                ) from error
            if is_nested(lineage, others):
                raise MountRefused(
                    f"{path} lies above or below {other['path']}, which an agent has as a mount too, and one of the two"
                    " is writable. Mount the same directory, or directories that lie apart"
                )


def mount_policy(db: apsw.Connection, settings: Settings) -> MountPolicy:
    """Return the policy of an instance as it is now."""
    return MountPolicy(
        allowed=settings.core.allowed_mounts, home=settings.home, given=[one for _, one in agents.all_mounts(db)]
    )


def is_nested(one: Sequence[DirectoryIdentity], other: Sequence[DirectoryIdentity]) -> bool:
    """Return True if one directory lies below the other; False for the same directory."""
    return one[-1] != other[-1] and (one[-1] in other or other[-1] in one)


def exposure_of(lineage: Sequence[DirectoryIdentity], home: Path) -> str:
    """Say how a directory would show the instance directory; empty if it does not.

    Args:
        lineage: The identities from `/` down to the directory.
        home: The instance directory; one that does not exist yet has nothing to show.
    """
    try:
        instance = lineage_of(home)
    except FileNotFoundError:
        return ""
    if instance[-1] == lineage[-1]:
        return "is the instance directory"
    if instance[-1] in lineage or any(part in lineage for part in _parts_of(home)):
        return f"lies in the instance directory {home}"
    return f"holds the instance directory {home}" if lineage[-1] in instance else ""


def _parts_of(home: Path) -> list[DirectoryIdentity]:
    """Return the identities of the instance's directories, which may be mounted elsewhere under another name too."""
    boot = boot_id()
    return [identity_of(path.stat(), boot) for path in map(home.joinpath, PARTS) if path.is_dir()]


def require_unexposed(shown: Iterable[Path], own: Iterable[Path], home: Path) -> None:
    """Check everything that a sandbox would see against the instance directory.

    Args:
        shown: The directories of the host that the sandbox sees.
        own: Those among them that it may see of the instance: the session's `in` and `out`, and the group's folder.

    Raises:
        SandboxRefused: Another one lies in the instance directory or around it.
    """
    allowed = set(own)
    for directory in shown:
        if directory in allowed:
            continue
        try:
            exposed = exposure_of(lineage_of(directory), home)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a directory that does not exist shows nothing; a runtime that needs it says so
        except OSError as error:
            raise SandboxRefused(f"{directory}, which the sandbox would see: {error.strerror}") from error
        if exposed:
            raise SandboxRefused(
                f"The sandbox would see {directory}, which {exposed}. Move the instance directory elsewhere (--home)"
            )


def _approved(raw: Mapping[str, Any]) -> DirectoryIdentity | None:
    text = raw.get("identity")
    try:
        return None if text is None else DirectoryIdentity.from_text(str(text))
    except ValueError as error:
        raise MountRefused(f"identity: {error}. Remove the mount, and add it again") from error


def _source_and_name(raw: Mapping[str, Any]) -> tuple[Path, str]:
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
    if not source.is_dir():
        raise MountRefused(f"{path} is no directory. Mount the directory that it is in")
    name = source.name if name is None else name
    if not isinstance(name, str) or not is_safe_name(name) or ":" in name:
        raise MountRefused(f"the name {name!r} is no safe name")
    return source, name


def _lineage(source: Path) -> Sequence[DirectoryIdentity]:
    try:
        descriptor, lineage = open_directory(source)
        os.close(descriptor)
        return lineage
    except OSError as error:  # an exchange under way, or a directory that the host may not enter
        raise MountRefused(f"{source} cannot be looked into: {error.strerror}") from error


def _is_inside(source: Path, allowed: AllowedMount) -> bool:
    try:
        return source.is_relative_to(Path(allowed.path).expanduser().resolve(strict=True))
    except (OSError, RuntimeError, ValueError):
        return False  # an allowed directory that does not exist allows nothing


def _keys_in(directory: Path) -> str:
    """Return the name of a place for keys on the first level of a directory; empty if there is none.

    The whole tree could be a disk, and keys live at the top of the homes they are in.
    """
    try:
        return next((entry.name for entry in directory.iterdir() if entry.name.lower() in BLOCKED), "")
    except OSError as error:
        raise MountRefused(f"{directory} cannot be looked into: {error.strerror}") from error
