"""Rules for the directories of the host that an agent may mount.

They are checked when a mount is requested, and again at every start of a sandbox:

1. The settings allow the directory and name each hidden part of its path. It is no usual place for keys and holds
   none (⚠59), and it shows neither sockets nor devices nor a file system of the kernel.
2. It shows no part of the instance directory, which has the operator's socket and the central database.
3. It lies neither above nor below a directory that a sandbox may write. Otherwise that sandbox could replace a part of
   the path between a human's approval and the mount. Two agents may share the same directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from attrs import frozen
from nanoclaw_untrusted.directories import DirectoryIdentity, Position, is_nested, lineage_of, position_of
from nanoclaw_untrusted.mountable import forbidden_in, hidden_part, is_in_key_place, shown_of_system
from nanoclaw_wire.layout import SANDBOX_EXTRA, is_safe_name

from nanoclaw_core.descriptors.sandboxes import Mount
from nanoclaw_core.errors import InvalidArguments, SandboxRefused, quote
from nanoclaw_core.settings import AllowedMount, Settings
from nanoclaw_core.store import agents


class MountRefused(InvalidArguments):
    """A mount is not allowed; the error gives the reason."""


@frozen(kw_only=True)
class MountPolicy:
    """Checks mounts.

    Args:
        allowed: The operator's `core.allowed_mounts`.
        home: The instance directory.
        given: The `additional_mounts` entries of all agent groups. The checked entry may be among them.
    """

    allowed: Sequence[AllowedMount]
    home: Path
    given: Sequence[Mapping[str, Any]] = ()

    def check(self, raw: Mapping[str, Any]) -> Mount:
        """Check one entry of a config's `additional_mounts`.

        Args:
            raw: `{path, name?, writable?, identity?}`; other keys are ignored.

        Returns:
            The mount, with the identity of the entry, or the directory's current identity if the entry has none.

        Raises:
            MountRefused: The entry is malformed, breaks a rule, or is not the directory that was approved.
        """
        source, name = _source_and_name(raw)
        if is_in_key_place(source):
            raise MountRefused(f"{raw['path']} looks like a place for keys. Mount another directory.")
        inside = [(part, root) for root in self.allowed if (part := hidden_part(source, root.path)) is not None]
        if not inside:
            link = "" if str(source) == raw["path"] else f" links to {source}, which"
            raise MountRefused(
                f"{raw['path']}{link} is not below a directory of core.allowed_mounts."
                " Add one to nanoclaw.toml and restart."
            )
        hidden, root = min(inside, key=lambda pair: pair[0] != "")
        if hidden:
            raise MountRefused(f"{raw['path']} has the hidden part {hidden}. Name it in core.allowed_mounts.")
        if shown := shown_of_system(source):
            raise MountRefused(f"{raw['path']} shows {shown}. Mount another directory.")
        lineage = _lineage(source)
        if exposed := exposure_of(lineage, self.home):
            raise MountRefused(f"{raw['path']} {exposed}, which no sandbox may see. Mount another directory.")
        if found := forbidden_in(source, (root.path for root in self.allowed)):
            raise MountRefused(f"{raw['path']} contains {found}. Mount a directory beside or below it.")
        is_writable = raw.get("writable") is True and root.writable
        self._require_apart(raw["path"], lineage, is_writable=is_writable)
        approved = _approved(raw)
        if approved is not None and not lineage[-1].matches_approved(approved):
            raise MountRefused(
                f"{raw['path']} is not the directory that was approved. Remove the mount and add it again."
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
                others = lineage_of(Path(str(other.get("path"))).expanduser().resolve(strict=True))
            except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError):
                continue  # the other directory is missing, and its own sandbox start refuses it
            except OSError as error:
                raise MountRefused(f"{other['path']}, another mount, cannot be read: {error.strerror}") from error
            if is_nested(lineage, others):
                raise MountRefused(
                    f"{path} lies above or below {other['path']}, another mount of an agent, and one of the two is"
                    " writable. Mount the same directory or separate directories."
                )


def mount_policy(db: apsw.Connection, settings: Settings) -> MountPolicy:
    """Return the current policy of an instance."""
    given = [entry for _, entry in agents.all_mounts(db)]
    return MountPolicy(allowed=settings.core.allowed_mounts, home=settings.home, given=given)


def exposure_of(lineage: Sequence[DirectoryIdentity], home: Path) -> str:
    """Return how a directory would expose the instance directory; an empty text if it does not.

    Args:
        lineage: The identities from `/` down to the directory.
        home: The instance directory. If it does not exist yet, nothing is exposed.
    """
    position = position_of(lineage, home)
    if position is None:
        return ""
    return f"{position.value} the instance directory{'' if position is Position.SAME else f' {home}'}"


def require_unexposed(shown: Iterable[Path], own: Iterable[Path], home: Path) -> None:
    """Check that a sandbox sees no part of the instance directory except its own directories.

    Args:
        shown: The directories of the host that the sandbox sees.
        own: The directories of the instance that it may see: the session's `in` and `out`, and the group's folder.
        home: The instance directory.

    Raises:
        SandboxRefused: Another visible directory lies in the instance directory or above it.
    """
    for directory in sorted(set(shown) - set(own)):
        try:
            exposed = exposure_of(lineage_of(directory.resolve(strict=True)), home)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a missing directory shows nothing; a runtime that needs it reports it
        except OSError as error:
            raise SandboxRefused(f"{directory}, visible in the sandbox, cannot be read: {error.strerror}") from error
        if exposed:
            raise SandboxRefused(
                f"The sandbox would see {directory}, which {exposed}. Move the instance directory (--home)."
            )


def _approved(raw: Mapping[str, Any]) -> DirectoryIdentity | None:
    text = raw.get("identity")
    try:
        return None if text is None else DirectoryIdentity.from_text(str(text))
    except ValueError as error:
        raise MountRefused(f"identity: {error}. Remove the mount and add it again.") from error


def _source_and_name(raw: Mapping[str, Any]) -> tuple[Path, str]:
    if not isinstance(raw, Mapping):
        raise MountRefused(f"mount: must be an object with a `path`, got {quote(raw)}")
    path, name = raw.get("path"), raw.get("name")
    if not isinstance(path, str) or not path or ":" in path:
        raise MountRefused(f"path: must be a path without a colon, got {quote(path)}")
    try:
        source = Path(path).expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: unknown home; ValueError: a NUL character
        raise MountRefused(f"path: must exist, got {path!r}") from error
    if ":" in str(source):
        raise MountRefused(f"path: must not link to a path with a colon, got {path!r}, which links to {source}")
    if not source.is_dir():
        raise MountRefused(f"{path} is not a directory. Mount the directory that contains it.")
    name = source.name if name is None else name
    if not isinstance(name, str) or not is_safe_name(name) or ":" in name:
        raise MountRefused(f"name: must be a safe file name without a colon, got {quote(name)}")
    return source, name


def _lineage(source: Path) -> Sequence[DirectoryIdentity]:
    try:
        os.scandir(source).close()  # `forbidden_in` must be able to list it
        return lineage_of(source)
    except OSError as error:  # a directory was just replaced, or the host may not enter it
        raise MountRefused(f"{source} cannot be read: {error.strerror}") from error
