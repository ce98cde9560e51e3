"""Slash commands: the one rule by which the host and the runner recognise them.

The host checks who may give a command, and the runner executes it. If the two read a text differently, a command could
run unchecked (⚠46).
"""

RAW = frozenset({"/compact", "/context", "/cost", "/files"})
"""Commands that a provider with slash commands gets as typed, without the writer's name. The host requires an admin for
each. The model reads every other word with a slash as the text of its writer, so no alias of a program needs a list."""

ADMIN = frozenset({"/clear", *RAW})
"""Commands that need an admin."""
FILTERED = frozenset({"/help", "/login", "/logout", "/doctor", "/config", "/remote-control"})
"""Commands of a provider's own program that never reach an agent."""
STOP = "/stop"


def command_of(text: str) -> str | None:
    """Return the command at the start of a text, in lower case with its slash, or None.

    The command of `/Clear now` is `/clear`. The whole word counts, so `/clearance` is another command.
    """
    words = text.split(maxsplit=1)
    return words[0].lower() if words and words[0].startswith("/") else None
