"""Slash commands: what a message that begins with `/` asks of the runner or of its provider."""

from __future__ import annotations

from enum import Enum

from nanoclaw_wire import commands
from nanoclaw_wire.inbound import AGENT_CHANNEL, InboundMessage, Kind

from nanoclaw_runner import content


class Command(Enum):
    """What to do with a slash command."""

    CLEAR = "clear"
    STOP = "stop"
    RAW = "raw"


def text_of(row: InboundMessage) -> str:
    """Return what was said, without space around it."""
    return content.as_text((content.read(row.content) or {}).get("text")).strip()


def command_of(row: InboundMessage, *, raw: bool) -> Command | None:
    """Say which command a row is, or None where it is to be told to the model.

    Only what a person said to the assistant can be a command: never a row of context, never the words of another
    agent, which no gate on the host has judged (⚠46).

    Args:
        raw: True where the provider has slash commands of its own; else they are told like everything that is said.
    """
    if row.kind is not Kind.CHAT or not row.trigger or row.channel in (None, AGENT_CHANNEL):
        return None
    match commands.command_of(text_of(row)):
        case None:
            return None
        case "/clear":
            return Command.CLEAR
        case "/stop":
            return Command.STOP
    return Command.RAW if raw else None
