"""Services: long-running parts that the core supervises, such as the model gateway."""

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
        """Work until cancelled.

        The core logs an error and calls again after a growing pause.
        """


@frozen(kw_only=True)
class GatewayEndpoint:
    """The gateway's endpoint for one sandbox.

    Args:
        socket: The path of the session's socket, in the read-only directory of the sandbox.
        upstreams: The upstreams of this endpoint; the sandbox reaches no others.
    """

    session_id: SessionId
    agent_group_id: GroupId
    socket: Path
    upstreams: Sequence[Upstream]


@runtime_checkable
class Gateway(RunningService, Protocol):
    """A service that connects sandboxes to their models without exposing the keys."""

    async def open_endpoint(self, endpoint: GatewayEndpoint) -> None:
        """Listen for one session; an open endpoint of the session is closed first."""

    async def close_endpoint(self, session_id: SessionId) -> None:
        """Stop listening for a session and end its connections; do nothing if it has no open endpoint."""


@frozen(kw_only=True)
class Service:
    """A part that runs as long as the host.

    Args:
        connect: Makes the running half. Must not do I/O.
        is_gateway: True if the running half is a `Gateway`; a host can have only one.
    """

    name: str = field(validator=check_name)
    connect: Callable[[Any, PluginContext], RunningService]
    settings: type | None = None
    is_gateway: bool = False
