"""The contract of channels, on ntfy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from fake_ntfy import FakeNtfy

from nanoclaw_core.testing.channel_contract import ChannelContract
from nanoclaw_core.testing.channel_stage import Platform, Shown


class Ntfy(Platform):
    """People with the ntfy app."""

    def __init__(self, server: FakeNtfy) -> None:
        self.server = server

    async def say(self, text: str, *, thread: str | None = None) -> None:
        await asyncio.to_thread(self.server.say, "kitchen", text)

    async def shown(self, count: int) -> Sequence[Shown]:
        answers = await asyncio.to_thread(self.server.answers, count)
        return [_shown(message) for message in answers]


def _shown(message: Mapping[str, Any]) -> Shown:
    if "attachment" in message:
        return Shown(files=[message["attachment"]["name"]])
    return Shown(text=message["message"])


class TestNtfy(ChannelContract):
    """The whole contract except the deduplication of a repeated attempt, because ntfy has no key for it."""

    plugin = "nanoclaw_channel_ntfy.host"
    room = "kitchen"
    refused_room = "no/topic"

    @pytest.fixture
    def platform(self) -> Iterator[Platform]:
        with FakeNtfy(file_bytes=1_000) as server:
            yield Ntfy(server)

    @pytest.fixture
    def settings(self, platform: Any) -> dict[str, Any]:
        return {"topic": "kitchen", "server": platform.server.url, "poll_s": 0.02}
