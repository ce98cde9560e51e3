"""Runtimes: plugins that start sandboxes from their descriptions."""

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
        """Look whether sandboxes can be made now, within 10 s. Does not raise."""

    async def shown_directories(self) -> Sequence[Path]:
        """Return the directories of the host that every sandbox sees beside its mounts; empty for an image.

        The core refuses to start a sandbox that would see a part of the instance directory through one of them.
        """

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox and start it.

        Open the mounts with `hold_mounts`, which refuses a directory that is not the approved one, and mount the
        directories that are held; if the engine opens them by name, compare with `require_mounted` before anything
        of the agent runs.

        Raises:
            SandboxRefused: It cannot work as things are; the message says what to do.
            SandboxFailed: It did not work this time. Nothing is left behind in either case.
        """

    async def reap(self) -> int:
        """End all sandboxes of this instance that an earlier host left, and return how many there were."""

    async def close(self) -> None:
        """Let go of the engine; sandboxes that still run stay as they are."""


@frozen(kw_only=True)
class Runtime:
    """A maker of sandboxes.

    Args:
        connect: Makes the running half from settings, context and the parts of all plugins. Must not do I/O.
        preference: Where nobody chose, the ready runtime with the highest one is taken for providers that run tools,
            and the one with the lowest for those that do not.
    """

    name: str = field(validator=check_name)
    connect: Callable[[Any, PluginContext, Sequence[SandboxRequirements]], RuntimeAdapter]
    settings: type | None = None
    preference: int = 0
