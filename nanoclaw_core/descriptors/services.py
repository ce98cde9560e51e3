"""Services: long-running parts that the core supervises, and the one that is the model gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.descriptors.providers import Upstream
from nanoclaw_core.ids import GroupId, SessionId


class RunningService(Protocol):
    """The running half of a service."""

    async def run(self) -> None:
        """Work until cancelled. What it raises is logged, and it is called again after a growing pause."""


@frozen(kw_only=True)
class GatewayEndpoint:
    """What one sandbox may reach through the gateway.

    Args:
        socket: Where the gateway listens for this session; the sandbox sees it in its read-only directory.
        upstreams: What it serves there, and nothing else.
    """

    session_id: SessionId
    agent_group_id: GroupId
    socket: Path
    upstreams: Sequence[Upstream]


@runtime_checkable
class Gateway(RunningService, Protocol):
    """A service that gives sandboxes a way to their models without giving them a key."""

    async def open_endpoint(self, door: GatewayEndpoint) -> None:
        """Listen for one session. A door that is open for it is closed first."""

    async def close_endpoint(self, session_id: SessionId) -> None:
        """Stop listening and end what is under way; silently nothing where no door is open."""


@frozen(kw_only=True)
class Service:
    """Something that runs as long as the host does.

    Args:
        connect: Makes the running half. Must not do I/O.
        is_gateway: True where the running half is a `Gateway`; there can be one in a host.
    """

    name: str = field(validator=check_name)
    connect: Callable[[Any, PluginContext], RunningService]
    settings: type | None = None
    is_gateway: bool = False
