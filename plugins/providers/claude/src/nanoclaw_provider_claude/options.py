"""The start options of the claude program: environment, tools, servers and hooks.

Other sessions may write to the folder in which the program works. So it takes no settings from files, and its servers
start elsewhere: `python -m` and `npx` prefer files of their current directory.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from nanoclaw_runner.provider import ProviderContext, Tool, ToolError
from nanoclaw_wire.config import McpServer

from nanoclaw_provider_claude.group_notes import with_group_notes

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeAgentOptions, McpSdkServerConfig, SdkMcpTool

log = logging.getLogger("nanoclaw.claude")

UPSTREAM = "anthropic"
PLACEHOLDER_KEY = "the-gateway-has-the-key"
TOOL_SERVER = "nanoclaw"
MAX_MESSAGE_BYTES = (
    64 * 1024**2
)  # of one line of the program's output; the SDK's own limit of 1 MiB is too small for a picture

BUILT_IN_TOOLS = (
    *("Bash", "Read", "Write", "Edit", "Glob", "Grep", "WebSearch", "WebFetch", "Task", "TaskOutput", "TaskStop"),
    *("TeamCreate", "TeamDelete", "SendMessage", "TodoWrite", "ToolSearch", "Skill", "NotebookEdit"),
)
DISALLOWED_TOOLS = (  # no person answers at its terminal, and the host keeps the schedule
    *("CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "AskUserQuestion"),
    *("EnterPlanMode", "ExitPlanMode", "EnterWorktree", "ExitWorktree"),
)

HookAnswer = dict[str, Any]
Hook = Callable[[Mapping[str, Any]], Awaitable[HookAnswer]]


@frozen(kw_only=True)
class Hooks:
    """Functions to call around tools and before a compaction. Each gets the SDK's hook input and returns its answer."""

    tool_starts: Hook
    tool_ends: Hook
    compaction_starts: Hook


def build_options(
    context: ProviderContext,
    hooks: Hooks,
    *,
    continuation: str | None,
    instructions: str,
    on_error_output: Callable[[str], None],
) -> ClaudeAgentOptions:
    """Return the options of one conversation. Imports the SDK, which takes more than a second."""
    from claude_agent_sdk import ClaudeAgentOptions

    variables = environment(context)
    append = with_group_notes(instructions, context.working_directory)
    return ClaudeAgentOptions(
        resume=continuation,
        cwd=context.working_directory,
        add_dirs=list(context.extra_directories),
        model=context.model,
        effort=context.effort,  # type: ignore[arg-type]  # a string from the settings, which the program validates
        # No snapshot, because destinations and other instructions may have changed since the conversation began.
        system_prompt={"type": "preset", "preset": "claude_code", "append": append, "snapshot": False},
        permission_mode="bypassPermissions",  # the sandbox limits the agent
        setting_sources=[],
        settings=json.dumps({"env": variables}),  # outranks the `env` of the program's own state file
        strict_mcp_config=True,
        mcp_servers=_servers(context),
        allowed_tools=[*BUILT_IN_TOOLS, *(f"mcp__{_tool_prefix(name)}__*" for name in _server_names(context))],
        disallowed_tools=list(DISALLOWED_TOOLS),
        hooks=_hooks(hooks),
        env=variables,
        max_buffer_size=MAX_MESSAGE_BYTES,
        stderr=on_error_output,
    )


def environment(context: ProviderContext) -> dict[str, str]:
    """Return the environment of the program: the sandbox's own, with the program's variables set over it.

    Raises:
        ValueError: The sandbox has no gateway.
    """
    if context.gateway_url is None:
        raise ValueError(
            "the sandbox has no model gateway, so claude cannot reach its model. Install nanoclaw-resource-gateway on"
            " the host and set network = gateway."
        )
    values = {
        "ANTHROPIC_BASE_URL": f"{context.gateway_url}/{UPSTREAM}",
        "ANTHROPIC_API_KEY": PLACEHOLDER_KEY,
        "ANTHROPIC_AUTH_TOKEN": "",  # no second credential, and no other service
        "CLAUDE_CODE_OAUTH_TOKEN": "",
        "CLAUDE_CODE_USE_BEDROCK": "",
        "CLAUDE_CODE_USE_VERTEX": "",
        "CLAUDE_CONFIG_DIR": str(context.state_directory),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "HOME": str(_home(context)),
        **_proxy_exemptions(context.environment),
        **_option_variables(context.options),
    }
    # Without IS_SANDBOX the program refuses to bypass permissions as root.
    return {**context.environment, **values} | ({"IS_SANDBOX": "1"} if os.getuid() == 0 else {})


def _option_variables(options: Mapping[str, str]) -> dict[str, str]:
    names = {"max_retries": "CLAUDE_CODE_MAX_RETRIES", "compact_at_tokens": "CLAUDE_CODE_AUTO_COMPACT_WINDOW"}
    return {variable: options[name] for name, variable in names.items() if name in options}


def _proxy_exemptions(environment: Mapping[str, str]) -> dict[str, str]:
    """Exempt the gateway on this machine from any proxy."""
    exempt = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    hosts = ",".join(filter(None, (exempt, "127.0.0.1", "localhost")))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def _home(context: ProviderContext) -> Path:
    """Return a writable home directory: the sandbox's own, else one that is kept with the conversation."""
    own_home = context.environment.get("HOME")
    if own_home and os.access(own_home, os.W_OK | os.X_OK):
        return Path(own_home)
    home = context.state_directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _server_names(context: ProviderContext) -> Sequence[str]:
    return [TOOL_SERVER, *(name for name in context.mcp_servers if name != TOOL_SERVER)]


def _servers(context: ProviderContext) -> dict[str, Any]:
    """Return the configured servers and our own, which no configured server can replace."""
    home = str(_home(context))
    return {name: _stdio(server, home) for name, server in context.mcp_servers.items()} | {
        TOOL_SERVER: tool_server(context.tools)
    }


def _stdio(server: McpServer, directory: str) -> dict[str, Any]:
    """Return a server that starts in a directory. The program itself would start it in the agent group's folder."""
    arguments = ["-c", 'cd "$0" && exec "$@"', directory, server.command, *server.args]
    return {"type": "stdio", "command": "/bin/sh", "args": arguments, "env": dict(server.env)}


def _tool_prefix(server: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", server)


def tool_server(tools: Sequence[Tool]) -> McpSdkServerConfig:
    """Return the MCP server that runs the tools in this process."""
    from claude_agent_sdk import create_sdk_mcp_server

    server = create_sdk_mcp_server(TOOL_SERVER, tools=[_sdk_tool(tool) for tool in tools])
    # Without `alwaysLoad` the model must search for `send_message` first, a round trip at the start of a conversation.
    return {**server, "alwaysLoad": True}  # type: ignore[typeddict-unknown-key]  # passed to the program unchanged


def _sdk_tool(tool: Tool) -> SdkMcpTool[Any]:
    from claude_agent_sdk import SdkMcpTool

    async def run(arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            text, is_error = await tool.run(arguments), False
        except ToolError as error:
            text, is_error = str(error), True
        except Exception:  # a tool is plugin code and may raise anything; the model gets a short error
            log.exception("tool failed", extra={"tool": tool.name})
            text, is_error = f"{tool.name} failed with an internal error. The runner's log has the details.", True
        return {"content": [{"type": "text", "text": text}], "is_error": is_error}

    # The SDK takes a schema without `properties` for a list of parameter names.
    schema = {"type": "object", "properties": {}} | dict(tool.parameters)
    return SdkMcpTool(name=tool.name, description=tool.description, input_schema=schema, handler=run)


def _hooks(hooks: Hooks) -> Any:
    from claude_agent_sdk import HookMatcher

    def matcher(hook: Hook) -> list[HookMatcher]:
        async def call(hook_input: Any, _tool_use_id: str | None, _context: Any) -> Any:
            return await hook(hook_input)

        return [HookMatcher(hooks=[call])]

    return {
        "PreToolUse": matcher(hooks.tool_starts),
        "PostToolUse": matcher(hooks.tool_ends),
        "PostToolUseFailure": matcher(hooks.tool_ends),
        "PreCompact": matcher(hooks.compaction_starts),
    }
