"""What a provider's runner half implements, and what a plugin may add inside the sandbox.

A runner plugin is a module named by an entry point of the group `nanoclaw.runner`. It has one function,
`nanoclaw_runner_plugin()`, which returns a `RunnerPlugin`. The module imports nothing heavy: import an SDK inside
`connect`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen
from nanoclaw_wire.config import McpServer
from nanoclaw_wire.events import Error, Event


@frozen(kw_only=True)
class Tool:
    """A function the model may call; it runs in the runner's process and shares its state (⚠8).

    Args:
        name: As the model sees it.
        description: What it does, for the model.
        parameters: A JSON schema of type `object`.
        run: `await run(arguments)` returns the text the model gets. If it meets an exhausted machine (see
            `nanoclaw_wire.exhaustion.is_exhausted`), the runner ends, and a provider that awaits it is cancelled.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], Awaitable[str]]


class ToolError(Exception):
    """A tool call that failed; the message goes to the model as an error."""


@frozen(kw_only=True)
class ProviderContext:
    """Everything a provider gets when it is made.

    Args:
        working_directory: The agent group's folder.
        state_directory: Kept for this session and provider from one sandbox to the next.
        extra_directories: What else was mounted for the agent.
        gateway_url: Where the model gateway is, `http://127.0.0.1:PORT`, without a slash at the end; add
            `/<upstream name>`. None where the sandbox has none.
        options: What the host half hands over.
        tools: For the model, beside what the provider brings itself.
        environment: The sandbox's environment. What the provider starts must get it: its PATH has `ncl` where the agent
            may use that.
    """

    working_directory: Path
    state_directory: Path
    extra_directories: Sequence[Path]
    gateway_url: str | None
    assistant_name: str
    model: str | None
    effort: str | None
    options: Mapping[str, str]
    mcp_servers: Mapping[str, McpServer]
    tools: Sequence[Tool]
    environment: Mapping[str, str] = field(repr=False)


class LiveQuery(Protocol):
    """A conversation with the model that is open."""

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens until the query ends. Every turn ends with exactly one `Result` or `Error`.

        Both name the pushes that the turn took in, by the ids that `query` and `push` were given. The runner settles
        these messages, addresses the answer by them, and tries them again after an error. None says that the provider
        cannot know.

        After a `Result` the query stays open for a push. It raises nothing of its own; troubles are `Error` events. One
        of the kind `EXHAUSTED` ends the runner; its messages stay pending.
        """

    async def push(self, text: str, push_id: str) -> None:
        """Say something more. It may join the running turn or become one of its own.

        Args:
            push_id: Names this push in `TookIn`, `Result` and `Error`: a UUID as text, never used before.
        """

    async def end(self) -> None:
        """Take no more input; events end after the running turn."""

    async def abort(self) -> None:
        """Stop at once; events end."""

    async def interrupt(self) -> None:
        """Stop the running turn and stay open; the turn ends with a `Result` without text."""


class Provider(Protocol):
    """Runs the model loop."""

    @property
    def has_slash_commands(self) -> bool:
        """True where `/word …` as the first input is a command of its own and must not be wrapped."""

    async def query(self, prompt: str, *, push_id: str, continuation: str | None, instructions: str) -> LiveQuery:
        """Open a conversation with a first prompt.

        Args:
            push_id: Names the first prompt, as in `LiveQuery.push`.
            continuation: From an `Init` event of an earlier query, to go on there; None starts anew.
            instructions: For the system prompt.
        """

    def is_stale(self, error: Error) -> bool:
        """Say whether the error means that the continuation is no longer known."""

    async def close(self) -> None:
        """Let go of everything."""


@frozen(kw_only=True)
class ProviderOffer:
    """A provider this plugin brings; `connect` makes it and may import an SDK."""

    name: str
    connect: Callable[[ProviderContext], Provider]


class ToolHost(Protocol):
    """What a plugin's tools may do in the runner."""

    async def send_message(self, text: str, to: str | None) -> int:
        """Write a message to a destination (None: where the current turn came from), and return its number.

        Raises:
            ToolError: There is no such destination; the message names those there are.
        """

    async def request(self, action: str, arguments: Mapping[str, Any]) -> str:
        """Write an action row for the host and return its request id."""

    async def answer(self, request_id: str, timeout_s: float) -> Mapping[str, Any]:
        """Wait for the host's answer to a request, acknowledge it, and return its content.

        Raises:
            ToolError: None came in so many seconds; one that comes later is acknowledged unread.
        """


@frozen(kw_only=True)
class RunnerPlugin:
    """Everything one plugin brings into the sandbox.

    Args:
        name: The plugin's name.
        tools: Makes the plugin's tools around the runner.
        instructions: Fragments for the system prompt.
    """

    name: str
    providers: Sequence[ProviderOffer] = ()
    tools: Callable[[ToolHost], Sequence[Tool]] = lambda _host: ()
    instructions: Sequence[str] = ()
