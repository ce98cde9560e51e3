"""A conversation with the real program against the fake of the platform."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from nanoclaw_provider_claude.options import PLACEHOLDER_KEY
from nanoclaw_provider_claude.runner import ClaudeProvider
from nanoclaw_runner.provider import LiveQuery, ProviderContext
from nanoclaw_wire.events import Error, Event, Result

from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.messages_script import Step

WAIT_S = 60.0
E = TypeVar("E")


class Talk:
    """An open conversation: what to say to it, and what it reported so far."""

    def __init__(self, query: LiveQuery, api: FakeMessagesApi) -> None:
        self.query, self.api = query, api
        self.seen: list[Event] = []
        self._events = query.events()

    async def until(self, *kinds: type[E]) -> E:
        """Read on to the next event of one of these kinds."""
        async with asyncio.timeout(WAIT_S):
            async for event in self._events:
                self.seen.append(event)
                if isinstance(event, kinds):
                    return event
        raise AssertionError(f"the conversation ended before any of {kinds}: {self.seen}")

    async def outcome(self) -> Result | Error:
        """Read on to the end of the turn."""
        return await self.until(Result, Error)

    async def rest(self) -> list[Event]:
        """Read on to the end of the conversation."""
        async with asyncio.timeout(WAIT_S):
            events = [event async for event in self._events]
        self.seen += events
        return events

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    """Describe a sandbox: its folders, and nothing else."""
    for name in ("agent", "state", "home"):
        (tmp_path / name).mkdir()
    return ProviderContext(
        working_directory=tmp_path / "agent",
        state_directory=tmp_path / "state",
        extra_directories=[],
        gateway_url=None,
        assistant_name="Andy",
        model=None,
        effort=None,
        options={"max_retries": "0"},
        mcp_servers={},
        tools=[],
        environment={"HOME": str(tmp_path / "home")},
    )


@pytest.fixture
def talk(context: ProviderContext) -> Callable[..., contextlib.AbstractAsyncContextManager[Talk]]:
    """Return what opens a conversation with a scripted model."""

    @contextlib.asynccontextmanager
    async def open_talk(
        *steps: Step,
        prompt: str = "hello",
        continuation: str | None = None,
        instructions: str = "Be kind.",
        **changes: Any,
    ) -> AsyncIterator[Talk]:
        async with FakeMessagesApi(steps, key=PLACEHOLDER_KEY, prefix="/anthropic") as api:
            provider = ClaudeProvider(evolve(context, **({"gateway_url": api.url} | changes)))
            try:
                query = await provider.query(prompt, continuation=continuation, instructions=instructions)
                yield Talk(query, api)
            finally:
                await provider.close()

    return open_talk
