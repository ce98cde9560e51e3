"""The runner half: offers the provider `claude`, and imports its SDK only when a conversation opens."""

from __future__ import annotations

from nanoclaw_runner.provider import LiveQuery, ProviderContext, ProviderOffer, RunnerPlugin
from nanoclaw_wire.events import Error, ErrorClass

from nanoclaw_provider_claude.query import ClaudeQuery


class ClaudeProvider:
    """Runs the claude program, one process for each open conversation."""

    has_slash_commands = True

    def __init__(self, context: ProviderContext) -> None:
        self._context = context
        self._queries: list[ClaudeQuery] = []

    async def query(self, prompt: str, *, push_id: str, continuation: str | None, instructions: str) -> LiveQuery:
        """Open a conversation, and return before the program runs."""
        query = ClaudeQuery(self._context, continuation=continuation, instructions=instructions)
        await query.push(prompt, push_id)
        self._queries = [*(other for other in self._queries if not other.is_over), query]
        return query

    def is_stale(self, error: Error) -> bool:
        """Return True if the program no longer knows the continuation."""
        return error.kind is ErrorClass.STALE_CONTINUATION

    async def close(self) -> None:
        """End all conversations, and wait for the exit of their programs."""
        for query in self._queries:
            await query.abort()


def nanoclaw_runner_plugin() -> RunnerPlugin:
    """Contribute `claude`."""
    return RunnerPlugin(name="claude", providers=[ProviderOffer(name="claude", connect=ClaudeProvider)])
