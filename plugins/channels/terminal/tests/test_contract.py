"""The channel contract on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from nanoclaw_channel_terminal.connection import Connection, HungUp

from nanoclaw_core.testing.channel_contract import ChannelContract
from nanoclaw_core.testing.channel_stage import Platform, Shown

WAIT_S = 30.0


class Terminal(Platform):
    """An attached terminal that shows each message at once."""

    def __init__(self) -> None:
        self._shown: list[Shown] = []
        self._arrived = asyncio.Event()

    async def open(self, home: Path) -> None:
        async with asyncio.timeout(WAIT_S):
            while not await self._attach(home):  # noqa: ASYNC110  # a new socket sends no notification
                await asyncio.sleep(0.005)
            while (await self._connection.next())["type"] != "ready":
                pass
        self._reading = asyncio.create_task(self._read())

    async def say(self, text: str, *, thread: str | None = None) -> None:
        await self._connection.say(text)

    async def shown(self, count: int) -> Sequence[Shown]:
        async with asyncio.timeout(WAIT_S):
            while len(self._shown) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self._shown

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._connection.close()

    async def _attach(self, home: Path) -> bool:
        with contextlib.suppress(OSError):
            self._connection = await Connection.open(home)
            return True
        return False

    async def _read(self) -> None:
        with contextlib.suppress(HungUp):
            while True:
                frame = await self._connection.next()
                if frame["type"] == "message":
                    self._record(frame)
                    await self._connection.seen(frame["id"])

    def _record(self, frame: Mapping[str, object]) -> None:
        files = [file["name"] for file in frame.get("files") or ()]  # type: ignore[attr-defined]
        self._shown.append(Shown(text=str(frame.get("text") or ""), files=files))
        self._arrived.set()


class TestTerminal(ChannelContract):
    """The full contract. The author of a message that was not stored sees the error at once."""

    plugin = "nanoclaw_channel_terminal.host"
    room = "local"
    sender = "operator"
    stranger = "other"
    refused_room = "elsewhere"
    offers_again = False

    @pytest.fixture
    def platform(self) -> Platform:
        return Terminal()
