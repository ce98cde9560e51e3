"""The provider contract on the mock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attrs import evolve
from nanoclaw_provider_mock.provider import MockProvider
from nanoclaw_runner.provider import Provider, ProviderContext
from nanoclaw_runner.testing.provider_contract import ProviderContract, Turn


class TestMock(ProviderContract):
    """The whole contract."""

    plugin = "nanoclaw_provider_mock.runner"

    @asynccontextmanager
    async def provider(self, context: ProviderContext, turns: Sequence[Turn]) -> AsyncIterator[Provider]:
        script = json.dumps([_step(turn) for turn in turns])
        # The counts of a script are kept, and the next script needs new ones.
        (context.state_directory / "script-uses.json").unlink(missing_ok=True)
        provider = MockProvider(evolve(context, options={"script": script}))
        yield provider
        await provider.close()


def _step(turn: Turn) -> dict[str, Any]:
    if turn.fails:
        return {"error": {"message": "refused", "kind": "refused"}}
    if turn.waits:
        return {"text": "never", "delay_s": 600}
    tools = [{"name": "greet", "arguments": {"name": turn.greets}}] if turn.greets else []
    return {"text": turn.text, "tools": tools}
