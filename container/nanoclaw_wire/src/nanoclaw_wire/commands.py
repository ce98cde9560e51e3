"""Slash commands: the one rule by which the host and the runner recognise them.

The host checks who may give a command, and the runner executes it. If the two read a text differently, a command could
run unchecked (⚠46).
"""


def command_of(text: str) -> str | None:
    """Return the command at the start of a text, in lower case with its slash, or None.

    The command of `/Clear now` is `/clear`. The whole word counts, so `/clearance` is another command.
    """
    words = text.split(maxsplit=1)
    return words[0].lower() if words and words[0].startswith("/") else None
