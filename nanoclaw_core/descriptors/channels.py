"""Channels: chat platforms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.messages import Address, Inbound, Outbound, Receipt
from nanoclaw_core.descriptors.names import check_name

Receive = Callable[[Inbound], Awaitable[Receipt]]


class ChannelAdapter(Protocol):
    """The running half of a channel: owns the sockets, never the routing."""

    async def listen(self, receive: Receive) -> None:
        """Pass on every message until cancelled.

        `await receive(message)` returns once the message is durable (I3): only then acknowledge it to the platform.

        Raises:
            Exception: Any error. The core logs it and calls again after a pause that doubles from 1 s to 300 s.
        """

    async def deliver(self, address: Address, message: Outbound) -> str | None:
        """Send one message.

        Returns:
            The platform's message id, or None if the platform has no ids.

        Raises:
            DeliveryRefused: The platform will never accept the message; the core does not retry.
            Exception: Any other error. The platform does not work now; the core retries for a day, with pauses that
                grow to minutes.
        """


@runtime_checkable
class ShowsTyping(Protocol):
    """An adapter that can show that the agent is at work."""

    async def show_typing(self, address: Address) -> None:
        """Show the typing indicator for a few seconds.

        Called every 4 s during a turn; errors are ignored.
        """


@runtime_checkable
class ShowsStatus(Protocol):
    """An adapter that can show people the state of their sandbox."""

    async def show_status(self, address: Address, text: str) -> None:
        """Show a short phrase until the next one or the next message; errors are ignored."""


@frozen(kw_only=True)
class Channel:
    """A chat platform.

    Args:
        name: The channel part of addresses ("telegram"); unique across installed plugins.
        connect: Makes the adapter from the plugin's settings and its context. Must not do I/O. Import a heavy SDK in
            it, so that a list of the plugins does not load it.
        settings: The shape of [plugins.<name>] in nanoclaw.toml. A channel without its required settings is skipped
            with one warning.
        has_threads: True if each thread is a conversation (Slack), False if the room is (Telegram).
    """

    name: str = field(validator=check_name)
    connect: Callable[[Any, PluginContext], ChannelAdapter]
    settings: type | None = None
    has_threads: bool = False
