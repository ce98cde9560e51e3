"""A conversation of the real program with the fake platform."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from nanoclaw_provider_claude.options import PLACEHOLDER_KEY
from nanoclaw_provider_claude.runner import ClaudeProvider
from nanoclaw_runner.pending_prompts import new_push_id
from nanoclaw_runner.provider import LiveQuery, ProviderContext
from nanoclaw_runner.testing import provider_contract

from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.messages_script import Step


class Talk(provider_contract.Talk):
    """An open conversation, and the fake platform that answers in it."""

    def __init__(self, query: LiveQuery, first: str, api: FakeMessagesApi) -> None:
        super().__init__(query, first)
        self.api = api


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    """Return the context of a sandbox with only its folders."""
    return evolve(provider_contract.context_in(tmp_path), options={"max_retries": "0"})


@pytest.fixture
def talk(context: ProviderContext) -> Callable[..., contextlib.AbstractAsyncContextManager[Talk]]:
    """Return a function that opens a conversation with a scripted model."""

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
            first = new_push_id()
            try:
                query = await provider.query(
                    prompt, push_id=first, continuation=continuation, instructions=instructions
                )
                yield Talk(query, first, api)
            finally:
                await provider.close()

    return open_talk
