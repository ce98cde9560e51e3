"""`in/config.json`: what a runner is told when it starts. The host writes it at every spawn."""

from __future__ import annotations

import json
from typing import Any

import cattrs
from attrs import field, frozen


@frozen(kw_only=True)
class McpServer:
    """A configured MCP server, started inside the sandbox over stdio.

    Args:
        command: The program.
        instructions: Text for the agent's instructions, or None.
    """

    command: str
    args: list[str] = field(factory=list)
    env: dict[str, str] = field(factory=dict)
    instructions: str | None = None


@frozen(kw_only=True)
class RunnerConfig:
    """Everything a runner is told.

    Args:
        provider: The name after session → group → settings were asked (⚠32).
        provider_options: What the provider's host half hands to its runner half; secrets have no place here.
        assistant_name: What the agent calls itself; empty where nobody said.
        model: None leaves it to the provider; so does `effort`.
        max_messages_per_prompt: How many rows one prompt takes at most.
        timezone: An IANA name, already checked.
        cli_scope: `disabled`, `group` or `global`.
        skills: Names of skill folders, or None for all.
        gateway_port: Where the runner offers the model gateway on 127.0.0.1; None where the sandbox has no gateway.
        instructions: Extra text for the system prompt.
        idle_stop_s: The runner leaves by itself after so many idle seconds; None never.
    """

    session_id: str
    agent_group_id: str
    group_name: str
    provider: str
    provider_options: dict[str, str] = field(factory=dict)
    assistant_name: str = ""
    model: str | None = None
    effort: str | None = None
    max_messages_per_prompt: int = 10
    timezone: str = "UTC"
    cli_scope: str = "group"
    skills: list[str] | None = None
    mcp_servers: dict[str, McpServer] = field(factory=dict)
    gateway_port: int | None = None
    instructions: str = ""
    idle_stop_s: float | None = None

    @property
    def has_cli(self) -> bool:
        """True where the agent may use `ncl` at all; a scope that is not known is none (I8)."""
        return self.cli_scope in ("group", "global")


def write_config(config: RunnerConfig) -> str:
    """Return the file's text."""
    return json.dumps(cattrs.unstructure(config), indent=2, ensure_ascii=False) + "\n"


def read_config(text: str) -> RunnerConfig:
    """Read the file's text.

    Raises:
        ValueError: Not the shape of a RunnerConfig; the message names what is wrong.
    """
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        raw: Any = json.loads(text)
        return converter.structure(raw, RunnerConfig)
    except Exception as error:  # cattrs raises groups of many kinds; one message is what the reader needs
        raise ValueError(f"config.json: {'; '.join(cattrs.transform_error(error))}") from error
