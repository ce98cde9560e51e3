"""`in/config.json`: the configuration of a runner. The host writes it at every start of a sandbox."""

from __future__ import annotations

import json
from typing import Any

import cattrs
from attrs import field, frozen

TURN_PAUSES_S = (2.0, 8.0, 30.0)  # 40 s in all: longer than most outages of a model, shorter than people's patience


@frozen(kw_only=True)
class McpServer:
    """A configured MCP server, started inside the sandbox over stdio.

    Args:
        command: The program.
        args: Its arguments.
        env: Its environment variables.
        instructions: Text for the agent's instructions, or None.
    """

    command: str
    args: list[str] = field(factory=list)
    env: dict[str, str] = field(factory=dict)
    instructions: str | None = None


@frozen(kw_only=True)
class RunnerConfig:
    """The configuration of a runner.

    Args:
        provider: The provider's name, from the session, else its agent group, else the settings (⚠32).
        provider_options: Options from the provider's host half for its runner half. Must not contain secrets.
        assistant_name: The name by which the agent calls itself. Empty if none is configured.
        model: None leaves the choice to the provider.
        effort: None leaves the choice to the provider.
        max_messages_per_prompt: Maximum number of rows in one prompt.
        timezone: A validated IANA name.
        cli_scope: `disabled`, `group` or `global`.
        skills: Names of skill folders, or None for all.
        gateway_port: Port on 127.0.0.1 at which the runner serves the model gateway; 0 for any free port, None if the
            sandbox has no gateway.
        instructions: Extra text for the system prompt.
        turn_pauses_s: Seconds before each retry of a turn that failed for a passing reason.
        idle_stop_s: The runner exits after this many idle seconds. None: it never exits for idleness.
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
    turn_pauses_s: list[float] = field(factory=lambda: [*TURN_PAUSES_S])
    idle_stop_s: float | None = None

    @property
    def has_cli(self) -> bool:
        """True if the agent may use `ncl`. An unknown scope grants nothing (I8)."""
        return self.cli_scope in ("group", "global")


def write_config(config: RunnerConfig) -> str:
    """Serialise a configuration to the text of the file."""
    return json.dumps(cattrs.unstructure(config), indent=2, ensure_ascii=False) + "\n"


def read_config(text: str) -> RunnerConfig:
    """Parse the text of the file.

    Raises:
        ValueError: The text is not a RunnerConfig. The message names each fault.
    """
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        raw: Any = json.loads(text)
        return converter.structure(raw, RunnerConfig)
    except Exception as error:  # cattrs raises groups of many types; callers need one message
        raise ValueError(f"config.json: {'; '.join(cattrs.transform_error(error))}") from error
