"""The prompts that the mock parses, and the texts that it writes by itself."""

from __future__ import annotations

import html
import re

from attrs import frozen

_MESSAGE = re.compile(r"<(?P<kind>message|host-note)\b(?P<attributes>[^>]*)>(?P<text>.*?)</(?P=kind)>", re.DOTALL)
_TASK = re.compile(r"<task(?P<attributes>[^>]*)>(?P<text>.*?)</task>", re.DOTALL)
_TAG = re.compile(r"<(?=/?(?:message|internal)\b)", re.IGNORECASE)
_FROM = re.compile(r'from="([^"]*)"')
_QUOTED = re.compile(r"<quoted_message.*?</quoted_message>", re.DOTALL)
_KNOWN_NAMES = re.compile(r"Known names: ([^<]+)\.</system>")

MAX_ECHO_CHARACTERS = 200


@frozen(kw_only=True)
class ParsedPrompt:
    """The last message of a prompt.

    Args:
        text: The message's text.
        origin: The name of the destination to answer; empty if the prompt has none.
        is_correction: True if the prompt only reports that the last answer had no valid destination.
    """

    text: str
    origin: str
    is_correction: bool = False


def parse_prompt(prompt: str) -> ParsedPrompt:
    """Parse a prompt in the runner's format. Any other text counts as one message."""
    if prompt.startswith("<system>"):  # the runner reports that the last answer had no valid destination
        known = _KNOWN_NAMES.search(prompt)
        names = known.group(1).split(", ") if known else []
        return ParsedPrompt(text="", origin=names[0] if len(names) == 1 else "", is_correction=True)
    messages = [*_MESSAGE.finditer(prompt)] or [*_TASK.finditer(prompt)]
    if not messages:
        return ParsedPrompt(text=prompt, origin="")
    text = html.unescape(_QUOTED.sub("", messages[-1]["text"])).strip()
    origin = _FROM.search(messages[-1]["attributes"])
    name = html.unescape(origin.group(1)) if origin else ""
    return ParsedPrompt(text=text, origin="" if name.startswith("unknown:") else name)


def wrap(text: str, origin: str) -> str:
    """Put a text into a block for a destination. Without a destination, return the text unchanged.

    Tags in the text are defused, because a person's text must not address other people or end the block.
    """
    if not origin:
        return text
    return f'<message to="{origin}">{_TAG.sub("‹", text)}</message>'


def no_model_notice(parsed: ParsedPrompt, turn: int) -> str:
    """Return the notice that no model is configured, with the remedy and the beginning of the message."""
    text = parsed.text if len(parsed.text) <= MAX_ECHO_CHARACTERS else parsed.text[:MAX_ECHO_CHARACTERS] + "…"
    return (
        "No language model is configured, so this is only the mock provider. To talk to a real model, set "
        "ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN in the environment of the host and restart the host. "
        f"`ncl doctor` shows more.\n\nEverything else works: your message number {turn} arrived and said: {text}"
    )
