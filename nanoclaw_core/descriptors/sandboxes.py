"""Sandboxes: the values that describe one, its mounts and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.ids import SessionId


class Network(Enum):
    """What a sandbox may reach: the model gateway alone, the engine's network, or nothing."""

    GATEWAY = "gateway"
    OPEN = "open"
    NONE = "none"


@frozen(kw_only=True)
class DirectoryIdentity:
    """A directory of this machine, whatever its name.

    Args:
        boot: The kernel's id of the boot in which the other two were read; empty where the kernel has none. The number
            of a device may change with a reboot.
    """

    device: int
    inode: int
    boot: str = ""

    def matches_approved(self, other: DirectoryIdentity) -> bool:
        """Compare two identities; those of two boots by their inode alone."""
        return self.inode == other.inode and (self.device == other.device or self.boot != other.boot)

    def to_text(self) -> str:
        """Return it as `device:inode:boot`."""
        return f"{self.device}:{self.inode}:{self.boot}"

    @classmethod
    def from_text(cls, text: str) -> DirectoryIdentity:
        """Read the text of `to_text`.

        Raises:
            ValueError: It is another text.
        """
        device, _, rest = text.partition(":")
        inode, colon, boot = rest.partition(":")
        if not (device.isdecimal() and inode.isdecimal() and colon):
            raise ValueError(f"must be device:inode:boot, got {text!r}")
        return cls(device=int(device), inode=int(inode), boot=boot)


@frozen(kw_only=True)
class Mount:
    """A directory of the host in the sandbox; read-only unless `writable`. Both paths are absolute.

    Args:
        identity: The directory that a human approved: `source` must lead to it without a link. None for the session's
            own directories, and for mounts that were approved before identities were kept.
    """

    source: Path
    target: str
    writable: bool = False
    identity: DirectoryIdentity | None = None


@frozen(kw_only=True)
class Limits:
    """What one sandbox may use at most."""

    memory_bytes: int = 4 * 1024**3
    cpus: float = 2.0
    pids: int = 1024


@frozen(kw_only=True)
class SandboxSpec:
    """One sandbox, completely described.

    Args:
        name: Unique on the machine, `[A-Za-z0-9][A-Za-z0-9_.-]*`.
        arguments: For the sandbox's Python interpreter: `("-m", "nanoclaw_runner")`.
        mounts: The session's `in` (read-only) and `out`, the group's folder, and what was allowed beside them.
        environment: All of it; nothing of the host's environment is added.
        runs_tools: True where what runs inside can execute anything; without isolation it is refused.
        image: A runtime's own name of an image, or None for its default.
    """

    session_id: SessionId
    name: str
    arguments: Sequence[str]
    mounts: Sequence[Mount]
    environment: Mapping[str, str]
    runs_tools: bool
    network: Network = Network.GATEWAY
    limits: Limits = Limits()
    image: str | None = None


@frozen(kw_only=True)
class SandboxExit:
    """How a sandbox ended.

    Args:
        code: The exit status; negative is a signal.
        reason: A short phrase for the log: `exited`, `killed`, `out of memory`.
        stderr_tail: The end of what it wrote to its error output, at most 4 000 characters.
    """

    code: int
    reason: str
    stderr_tail: str = ""


class Sandbox(Protocol):
    """A running sandbox."""

    async def wait(self) -> SandboxExit:
        """Wait for its end. May be called by several at once, and after the end."""

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, and end it after so many seconds. Returns when it is gone; silently where it already was."""


@frozen(kw_only=True)
class Readiness:
    """Whether a runtime can be used now.

    Args:
        isolates: True where what runs inside cannot reach the host's files and processes.
        takes_tools_unisolated: True where the operator allowed that providers with tools run without isolation.
        detail: What was found: "Docker Engine 20.10, image nanoclaw-agent:1f2e".
        remedy: What to do where it is not ready, or not isolating; empty otherwise.
        missing_protections: Those that do not hold although it isolates, each a phrase with its remedy. `ncl doctor`
            warns of them.
    """

    ready: bool
    isolates: bool
    detail: str
    remedy: str = ""
    takes_tools_unisolated: bool = False
    missing_protections: Sequence[str] = ()


@frozen(kw_only=True)
class SandboxRequirements:
    """What a plugin wants inside the image.

    Args:
        name: The plugin's name.
        distribution: The distribution whose `[runner]` extra goes into the image, or None.
        apt: Debian packages; `npm`: npm packages, each `name` or `name@version`; `pip`: requirements.
    """

    name: str = field(validator=check_name)
    distribution: str | None = None
    apt: Sequence[str] = ()
    npm: Sequence[str] = ()
    pip: Sequence[str] = ()
    environment: Mapping[str, str] = field(factory=dict)
