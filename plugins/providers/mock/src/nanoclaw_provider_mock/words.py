"""What the mock reads out of a prompt, and what it says by itself."""

from __future__ import annotations

import html
import re

from attrs import frozen

_MESSAGE = re.compile(r"<message(?P<attributes>[^>]*)>(?P<text>.*?)</message>", re.DOTALL)
_TASK = re.compile(r"<task(?P<attributes>[^>]*)>(?P<text>.*?)</task>", re.DOTALL)
_TAG = re.compile(r"<(?=/?(?:message|internal)\b)", re.IGNORECASE)
_FROM = re.compile(r'from="([^"]*)"')
_QUOTED = re.compile(r"<quoted_message.*?</quoted_message>", re.DOTALL)
_KNOWN_NAMES = re.compile(r"Known names: ([^<]+)\.</system>")

ECHO_LENGTH = 200


@frozen(kw_only=True)
class Heard:
    """What the last message of a prompt says.

    Args:
        origin: The name to answer to; empty where the prompt tells none.
        is_correction: True where the prompt only says that the turn before reached nobody.
    """

    text: str
    origin: str
    is_correction: bool = False


def listen(prompt: str) -> Heard:
    """Read a prompt of the runner's format; any other text is taken as it is."""
    if prompt.startswith("<system>"):  # the runner says that the last turn reached nobody
        known = _KNOWN_NAMES.search(prompt)
        names = known.group(1).split(", ") if known else []
        return Heard(text="", origin=names[0] if len(names) == 1 else "", is_correction=True)
    messages = [*_MESSAGE.finditer(prompt)] or [*_TASK.finditer(prompt)]
    if not messages:
        return Heard(text=prompt, origin="")
    text = html.unescape(_QUOTED.sub("", messages[-1]["text"])).strip()
    origin = _FROM.search(messages[-1]["attributes"])
    name = html.unescape(origin.group(1)) if origin else ""
    return Heard(text=text, origin="" if name.startswith("unknown:") else name)


def wrap(text: str, origin: str) -> str:
    """Put a text into a block for a destination; without one it stays bare.

    Tags within it lose their form: what a person typed must neither address anybody nor end the block.
    """
    if not origin:
        return text
    return f'<message to="{origin}">{_TAG.sub("‹", text)}</message>'


def honest(heard: Heard, turn: int) -> str:
    """Say that there is no model, how to get one, and what was heard."""
    said = heard.text if len(heard.text) <= ECHO_LENGTH else heard.text[:ECHO_LENGTH] + "…"
    return (
        "No language model is configured, so this is only the mock provider speaking. To talk to a real one, set "
        "ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN in the environment of the host and start it again; "
        f"`ncl doctor` tells more.\n\nEverything else works: your message number {turn} arrived here and said: {said}"
    )
