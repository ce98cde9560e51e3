"""Values that describe a sandbox, its mounts and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from attrs import field, frozen
from nanoclaw_untrusted.directories import DirectoryIdentity as DirectoryIdentity

from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.ids import SessionId


class Network(Enum):
    """The network of a sandbox: only the model gateway, the engine's network, or none."""

    GATEWAY = "gateway"
    OPEN = "open"
    NONE = "none"


@frozen(kw_only=True)
class Mount:
    """A directory of the host in the sandbox; read-only unless `writable`.

    Both paths are absolute.

    Args:
        identity: The identity of the approved directory; `source` must lead to it without a link. None for the
            session's own directories, and for mounts that were approved before identities were stored.
    """

    source: Path
    target: str
    writable: bool = False
    identity: DirectoryIdentity | None = None


@frozen(kw_only=True)
class Limits:
    """The resource limits of one sandbox."""

    memory_bytes: int = 4 * 1024**3
    cpus: float = 2.0
    pids: int = 1024


@frozen(kw_only=True)
class SandboxSpec:
    """The complete specification of one sandbox.

    Args:
        name: Unique on the machine, `[A-Za-z0-9][A-Za-z0-9_.-]*`.
        arguments: The arguments of the sandbox's Python interpreter: `("-m", "nanoclaw_runner")`.
        mounts: The session's `in` (read-only) and `out`, the group's folder, and the allowed additional mounts.
        environment: The complete environment; the host's environment is not added.
        runs_tools: True if the provider can execute commands; without isolation such a sandbox is refused.
        image: The name of an image of the runtime, or None for its default.
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
    """The end of a sandbox.

    Args:
        code: The exit status; a negative number is a signal.
        reason: A short phrase for the log: `exited`, `killed`, `out of memory`.
        stderr_tail: The end of its error output, at most 4 000 characters.
    """

    code: int
    reason: str
    stderr_tail: str = ""


class Sandbox(Protocol):
    """A running sandbox."""

    async def wait(self) -> SandboxExit:
        """Wait for its end. Several tasks may call this, even after the end."""

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, and kill it after the grace period.

        Return once it has ended, or if it had ended before.
        """


@frozen(kw_only=True)
class Readiness:
    """The state of a runtime.

    Args:
        ready: True if it can make sandboxes now.
        isolates: True if a sandbox cannot reach the host's files and processes.
        takes_tools_unisolated: True if the operator allowed providers with tools without isolation.
        detail: The result of the check: "Docker Engine 20.10, image nanoclaw-agent:1f2e".
        remedy: The remedy if it is not ready or does not isolate; empty otherwise.
        missing_protections: The missing protections of an isolating runtime, each a phrase with its remedy. `ncl
            doctor` warns about them.
    """

    ready: bool
    isolates: bool
    detail: str
    remedy: str = ""
    takes_tools_unisolated: bool = False
    missing_protections: Sequence[str] = ()


@frozen(kw_only=True)
class SandboxRequirements:
    """A plugin's requirements for the sandbox image.

    Args:
        name: The plugin's name.
        distribution: The distribution that is installed in the image with its `[runner]` extra, or None.
        apt: Debian packages.
        npm: npm packages, each as `name` or `name@version`.
        pip: Requirements for pip.
        environment: Environment variables of the image.
    """

    name: str = field(validator=check_name)
    distribution: str | None = None
    apt: Sequence[str] = ()
    npm: Sequence[str] = ()
    pip: Sequence[str] = ()
    environment: Mapping[str, str] = field(factory=dict)
