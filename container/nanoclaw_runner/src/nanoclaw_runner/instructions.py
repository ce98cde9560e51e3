"""What the model is told about its place: its name, where it can write, and how."""

from __future__ import annotations

from collections.abc import Sequence

from nanoclaw_wire.config import RunnerConfig
from nanoclaw_wire.inbound import Destination

_RULES = """
What people should read must be wrapped in a `<message to="name">` block, with a name from above:

    <message to="{example}">What you want to say</message>

- Text outside of such a block is a scratchpad: nobody sees it. Put thoughts into `<internal>…</internal>`:
  nothing in there is delivered, not even a block.
- A block ends at its first `</message>`. To show people such a tag, put it into backticks or a fenced code block.
- You may write several blocks, to one or to several names. Each becomes a chat message of its own.
- By default, answer to the `from` of the message you answer.
- The tool `send_message` delivers at once, while you are still working: use it to say what takes long. Each call and
  each block is a separate chat message, so do not repeat in a block what you sent with the tool.
"""

_CLI = """
## `ncl`

With the program `ncl` you can look at, and change, {reach}. `ncl help` lists its commands and `ncl help NOUN` explains
them; `--json` answers as JSON. Some changes need a human's approval: the answer then is the error `approval-pending`,
and the outcome comes later as a message, so do not ask again meanwhile.
"""
_REACHES = {"group": "your own agent group and nothing else", "global": "everything on this host, all agent groups"}


def write_instructions(config: RunnerConfig, destinations: Sequence[Destination], fragments: Sequence[str] = ()) -> str:
    """Return the text for the system prompt.

    Args:
        fragments: What plugins add.
    """
    servers = [server.instructions for server in config.mcp_servers.values() if server.instructions]
    own = [_name(config.assistant_name), _sending(destinations), _cli(config)]
    sections = [*own, *fragments, *servers, config.instructions]
    return "\n\n".join(section.strip() for section in sections if section.strip())


def _name(name: str) -> str:
    if not name:
        return ""
    return f"# You are {name}\n\nUse this name when you introduce yourself, and answer to it when people call you."


def _cli(config: RunnerConfig) -> str:
    return _CLI.format(reach=_REACHES[config.cli_scope]) if config.has_cli else ""


def _sending(destinations: Sequence[Destination]) -> str:
    heading = "## DeliveryContext messages\n\n"
    if not destinations:
        return heading + "You have no destinations: nothing you write is delivered to anybody."
    rules = _RULES.format(example=destinations[0].name)
    if len(destinations) == 1:
        return f"{heading}Your one destination is {_label(destinations[0])}.\n{rules}"
    bullets = "\n".join(f"- {_label(destination)}" for destination in destinations)
    return f"{heading}You can write to these destinations:\n\n{bullets}\n{rules}"


def _label(destination: Destination) -> str:
    display = destination.display_name
    return f"`{destination.name}`" + (f" ({display})" if display and display != destination.name else "")
