"""A channel plugin for tests: it sends the messages of a test, and records the deliveries of the host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from attrs import frozen

from nanoclaw_core import (
    Address,
    Admission,
    Channel,
    Inbound,
    Outbound,
    PluginContext,
    Receipt,
    Receive,
    Verdict,
    Vote,
    hookimpl,
)

WAIT_S = 30.0  # for events that must happen; long, because a busy machine is no failure


@frozen
class Delivered:
    """A message that the host delivered, and its platform id."""

    address: Address
    message: Outbound
    platform_id: str


class RecorderChannel:
    """A channel plugin for tests.

    Args:
        name: The channel's name.
        has_threads: As in `Channel`.
        refused: The senders that the admission vote denies. It allows all others.
    """

    def __init__(self, name: str = "recorder", *, has_threads: bool = False, refused: Iterable[str] = ()) -> None:
        self.name, self.has_threads = name, has_threads
        self.refused = {f"{name}:{sender}" for sender in refused}
        self.delivered: list[Delivered] = []
        self.attempts: list[Outbound] = []
        self.statuses: list[str] = []
        self.troubles: list[Exception] = []
        self._receive: asyncio.Future[Receive] | None = None
        self._change = asyncio.Event()

    async def say(self, text: str, *, room: str = "room", sender: str = "ada", **more: object) -> Receipt:
        """Send a message of a person, and return the core's receipt."""
        return await self.pass_on(Inbound(room=room, text=text, sender=sender, **more))  # type: ignore[arg-type]

    async def pass_on(self, inbound: Inbound) -> Receipt:
        """Pass any message to the core, and return the receipt."""
        async with asyncio.timeout(WAIT_S):
            while self._receive is None:
                await self._next_change()
            receive = await self._receive
        return await receive(inbound)

    async def texts(self, count: int) -> list[str]:
        """Wait until `count` messages were delivered, and return their texts."""
        async with asyncio.timeout(WAIT_S):
            while len(self.delivered) < count:
                await self._next_change()
        return [delivered.message.text for delivered in self.delivered]

    async def status(self, text: str) -> None:
        """Wait until the host showed this status."""
        async with asyncio.timeout(WAIT_S):
            while text not in self.statuses:
                await self._next_change()

    @hookimpl
    def nanoclaw_channels(self) -> Iterable[Channel]:
        yield Channel(name=self.name, connect=self._connect, has_threads=self.has_threads)

    @hookimpl
    def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
        if admission.address.channel != self.name:
            return None
        if admission.user_id in self.refused:
            return Verdict(Vote.DENY, "a stranger")
        return Verdict(Vote.ALLOW, "a test")

    async def listen(self, receive: Receive) -> None:
        self._receive = asyncio.get_running_loop().create_future()
        self._receive.set_result(receive)
        self._announce()
        await asyncio.Event().wait()

    async def deliver(self, address: Address, message: Outbound) -> str:
        self.attempts.append(message)
        if self.troubles:
            raise self.troubles.pop(0)
        platform_id = f"{self.name}-{len(self.delivered) + 1}"
        self.delivered.append(Delivered(address, message, platform_id))
        self._announce()
        return platform_id

    async def show_status(self, address: Address, text: str) -> None:
        self.statuses.append(text)
        self._announce()

    def _connect(self, _settings: object, _context: PluginContext) -> RecorderChannel:
        return self

    def _announce(self) -> None:
        self._change.set()

    async def _next_change(self) -> None:
        await self._change.wait()
        self._change.clear()
