"""Slash commands: the one rule by which host and runner tell them from other words.

The host decides who may give a command, the runner carries it out. Did they read a text differently, one could be
carried out that nobody judged (⚠46).
"""


def command_of(text: str) -> str | None:
    """Return the command a text starts with, lower case with its slash, or None: `/Clear now` is `/clear`.

    The whole word counts, so `/clearance` is not `/clear`.
    """
    words = text.split(maxsplit=1)
    return words[0].lower() if words and words[0].startswith("/") else None
