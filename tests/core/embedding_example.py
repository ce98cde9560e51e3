"""An application that contains a nanoclaw host and talks to its agent over a channel of its own."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from nanoclaw_core import (
    Address,
    Admission,
    Channel,
    Host,
    Inbound,
    Outbound,
    Receive,
    Verdict,
    Vote,
    hookimpl,
    initialise,
    load_settings,
)


class Window:
    """A channel with one room, this program: questions go in, answers come out."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[str] = asyncio.Queue()
        self.answers: asyncio.Queue[str] = asyncio.Queue()

    @hookimpl
    def nanoclaw_channels(self) -> Iterable[Channel]:
        yield Channel(name="window", connect=lambda _settings, _context: self)

    @hookimpl
    def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
        return Verdict(Vote.ALLOW, "our own user") if admission.address.channel == "window" else None

    async def listen(self, receive: Receive) -> None:
        while True:
            await receive(Inbound(room="main", text=await self.questions.get(), sender="me", is_mention=True))

    async def deliver(self, _address: Address, message: Outbound) -> None:
        await self.answers.put(message.text)


async def ask(home: Path, question: str) -> str:
    """Start a host on an instance directory, ask its agent one question, and stop the host."""
    initialise(home, environment={}, room=("window", "main"), owner="window:me")
    window = Window()
    async with Host(load_settings(home, {}), plugins={"window": window}):
        await window.questions.put(question)
        return await window.answers.get()
