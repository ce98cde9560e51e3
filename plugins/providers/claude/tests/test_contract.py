"""The provider contract on the real claude program with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from attrs import evolve
from nanoclaw_provider_claude.options import PLACEHOLDER_KEY
from nanoclaw_provider_claude.runner import ClaudeProvider
from nanoclaw_runner.provider import Provider, ProviderContext
from nanoclaw_runner.testing.provider_contract import ProviderContract, Turn

from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.messages_script import Step


class TestClaude(ProviderContract):
    """The whole contract."""

    plugin = "nanoclaw_provider_claude.runner"
    loads_late = ("claude_agent_sdk", "mcp")

    @asynccontextmanager
    async def provider(self, context: ProviderContext, turns: Sequence[Turn]) -> AsyncIterator[Provider]:
        steps = [step for turn in turns for step in _steps(turn)]
        async with FakeMessagesApi(steps, key=PLACEHOLDER_KEY, prefix="/anthropic") as api:
            provider = ClaudeProvider(evolve(context, gateway_url=api.url, options={"max_retries": "0"}))
            try:
                yield provider
            finally:
                await provider.close()


def _steps(turn: Turn) -> list[Step]:
    if turn.fails:
        return [Step(error=400, times=0)]
    if turn.waits:
        # Only for the first prompt: no later turn may use this step if the interrupt came before the model call.
        return [Step(text="never", hold=True, when="hello")]
    tool = [Step(tool="mcp__nanoclaw__greet", input={"name": turn.greets})] if turn.greets else []
    return [*tool, Step(text=turn.text)]
