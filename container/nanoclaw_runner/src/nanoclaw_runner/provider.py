"""The contract of runner plugins: the provider's runner half, and tools and instructions of any plugin.

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
    """A function that the model may call. It runs in the runner's process and shares its state (⚠8).

    Args:
        name: The name that the model uses.
        description: Explains the tool to the model.
        parameters: A JSON schema of type `object`.
        run: `await run(arguments)` returns the text for the model. If it meets an exhausted machine (see
            `nanoclaw_wire.exhaustion.is_exhausted`), the runner ends, and a provider that awaits it is cancelled.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], Awaitable[str]]


class ToolError(Exception):
    """A failed tool call. The model gets the message as an error."""


@frozen(kw_only=True)
class ProviderContext:
    """The arguments of `ProviderOffer.connect`.

    Args:
        working_directory: The agent group's folder.
        state_directory: Kept for this session and provider from one sandbox to the next.
        extra_directories: The further mounts of the agent.
        gateway_url: The URL of the model gateway, `http://127.0.0.1:PORT`, without a slash at the end; add
            `/<upstream name>`. None if the sandbox has no gateway.
        options: The options of the plugin's host half.
        tools: Tools for the model, besides those of the provider itself.
        environment: The sandbox's environment. Pass it to every process: its PATH has `ncl` if the agent may use it.
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
    """An open conversation with the model."""

    def events(self) -> AsyncIterator[Event]:
        """Yield events until the query ends. Every turn ends with exactly one `Result` or `Error`.

        Both name the pushes that the turn took in, by the ids of `query` and `push`. The runner settles these messages,
        addresses the answer by them, and retries them after an error. Pass None if the provider cannot know them.

        After a `Result` the query stays open for a push. Report failures as `Error` events instead of raising them. An
        error of the kind `EXHAUSTED` ends the runner, and its messages stay pending.
        """

    async def push(self, text: str, push_id: str) -> None:
        """Add a prompt. It may join the running turn or get a turn of its own.

        Args:
            text: The prompt.
            push_id: Names this push in `TookIn`, `Result` and `Error`: a UUID as text, never used before.
        """

    async def end(self) -> None:
        """Accept no more input; the events end after the running turn."""

    async def abort(self) -> None:
        """Stop at once; the events end."""

    async def interrupt(self) -> None:
        """Stop the running turn and stay open; the turn ends with a `Result` without text."""


class Provider(Protocol):
    """The model loop."""

    @property
    def has_slash_commands(self) -> bool:
        """True if `/word …` as the first input is a command of the provider, which the runner must not wrap."""

    async def query(self, prompt: str, *, push_id: str, continuation: str | None, instructions: str) -> LiveQuery:
        """Open a conversation with a first prompt.

        Args:
            prompt: The first prompt.
            push_id: Names the first prompt, as in `LiveQuery.push`.
            continuation: From an `Init` event of an earlier query, to resume it; None starts a new conversation.
            instructions: The text for the system prompt.
        """

    def is_stale(self, error: Error) -> bool:
        """Return True if the error means that the continuation is no longer known."""

    async def close(self) -> None:
        """Stop all queries and release all resources."""


@frozen(kw_only=True)
class ProviderOffer:
    """A provider of a plugin. `connect` makes it and may import an SDK."""

    name: str
    connect: Callable[[ProviderContext], Provider]


class ToolHost(Protocol):
    """The runner's services for a plugin's tools."""

    async def send_message(self, text: str, to: str | None) -> int:
        """Write a message to a destination and return its number.

        Args:
            text: The text of the message.
            to: The name of the destination; None for the conversation of the running turn.

        Raises:
            ToolError: No destination has that name; the message lists the known names.
        """

    async def request(self, action: str, arguments: Mapping[str, Any]) -> str:
        """Write a request to the host as an action row, and return its id.

        Raises:
            ToolError: The request is longer than the host allows.
        """

    async def answer(self, request_id: str, timeout_s: float) -> Mapping[str, Any]:
        """Wait for the host's answer to a request, acknowledge it, and return its content.

        Raises:
            ToolError: No answer came within `timeout_s` seconds. A later one is acknowledged unread.
        """


@frozen(kw_only=True)
class RunnerPlugin:
    """The parts of a plugin that run in the sandbox.

    Args:
        name: The plugin's name.
        tools: Makes the plugin's tools.
        instructions: Texts for the system prompt.
    """

    name: str
    providers: Sequence[ProviderOffer] = ()
    tools: Callable[[ToolHost], Sequence[Tool]] = lambda _host: ()
    instructions: Sequence[str] = ()
