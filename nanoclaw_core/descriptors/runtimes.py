"""Runtimes: plugins that start sandboxes from specifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.descriptors.sandboxes import Readiness, Sandbox, SandboxRequirements, SandboxSpec


class RuntimeAdapter(Protocol):
    """The running half of a runtime. Nothing in it may block the event loop (⚠26)."""

    async def check(self) -> Readiness:
        """Check within 10 s whether sandboxes can be made now. Must not raise."""

    async def shown_directories(self) -> Sequence[Path]:
        """Return the host directories that every sandbox sees in addition to its mounts.

        It is empty for a runtime with an image.

        The core refuses to start a sandbox that would see a part of the instance directory in one of them.
        """

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox and start it.

        Open the mounts with `hold_mounts`, which refuses a directory other than the approved one, and mount the held
        directories. If the engine opens them by name, compare them with `require_mounted` before the agent runs.

        Raises:
            SandboxRefused: It cannot work in the current state; the error has the remedy.
            SandboxFailed: It did not work this time. Both errors leave nothing behind.
        """

    async def reap(self) -> int:
        """Stop all sandboxes of this instance that an earlier host left, and return their number."""

    async def close(self) -> None:
        """Close the connection to the engine; running sandboxes continue."""


@frozen(kw_only=True)
class Runtime:
    """A runtime, which makes sandboxes.

    Args:
        connect: Makes the running half from settings, context and the requirements of all plugins. Must not do I/O.
        preference: If none is configured, a provider with tools gets the ready runtime with the highest preference, and
            a provider without tools the one with the lowest.
    """

    name: str = field(validator=check_name)
    connect: Callable[[Any, PluginContext, Sequence[SandboxRequirements]], RuntimeAdapter]
    settings: type | None = None
    preference: int = 0
