"""What the fake Messages API answers: scripted steps first, and where no step fits an echo of what was said.

A step is consumed by the first conversation request that fits its `when`. Requests that carry no tools are the client's
own side questions (a title, a summary) and take no step unless one names them by `when`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import cattrs
from attrs import field, frozen

_CHAT = re.compile(r"<message\b(?P<attributes>[^>]*)>(?P<body>.*?)</message>", re.DOTALL)
_FROM = re.compile(r'\bfrom="([^"]*)"')
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_INTERRUPTED = "[Request interrupted by user]"


@frozen(kw_only=True)
class Step:
    """One answer.

    Args:
        text: What the model says.
        tool: A tool it calls, with `input`; the text, where there is one, comes before the call.
        error: An HTTP status to fail with instead: 400, 401, 403, 404, 413, 429, 500 or 529.
        message: The error's text; the platform's usual one where it is empty.
        retry_after_s: The `retry-after` header of an error, in seconds.
        delay_s: How long nothing at all is sent.
        drop: True to cut the connection in the middle of the answer.
        hold: True to send the beginning and wait for `FakeMessagesApi.release` before the rest.
        when: Only for a request whose last user message contains this.
        times: For so many requests; 0 is for ever.
        input_tokens: What the answer reports; counted from the request where None.
        cache_read_tokens: Reported beside `input_tokens`, as the platform does.
    """

    text: str = ""
    tool: str = ""
    input: dict[str, Any] = field(factory=dict)
    error: int | None = None
    message: str = ""
    retry_after_s: int | None = None
    delay_s: float = 0.0
    drop: bool = False
    hold: bool = False
    when: str = ""
    times: int = 1
    input_tokens: int | None = None
    cache_read_tokens: int = 0


def read_script(text: str) -> list[Step]:
    """Read a JSON list of steps.

    Raises:
        ValueError: Not a list of steps; the message names what is wrong.
    """
    try:
        return cattrs.Converter(forbid_extra_keys=True).structure(json.loads(text), list[Step])
    except Exception as error:  # cattrs raises groups of many kinds; one message is what the reader needs
        raise ValueError(f"script: {'; '.join(cattrs.transform_error(error))}") from error


class Script:
    """The steps that are left."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._left: list[tuple[Step, int]] = [(step, step.times) for step in steps]

    def add(self, *steps: Step) -> None:
        """Add steps at the end."""
        self._left.extend((step, step.times) for step in steps)

    @property
    def is_done(self) -> bool:
        """True where no step with an end is left."""
        return all(step.times == 0 for step, _ in self._left)

    def take(self, body: Mapping[str, Any]) -> Step:
        """Return the step for a request, or an echo where none fits."""
        said = last_said(body)
        for index, (step, times) in enumerate(self._left):
            if step.when and step.when not in said:
                continue
            if not step.when and not body.get("tools"):
                continue
            if times == 1:
                del self._left[index]
            elif times > 1:
                self._left[index] = (step, times - 1)
            return step
        return Step(text=echo(said))


def echo(said: str) -> str:
    """Answer a prompt with its own words, wrapped for the destination that its `from="…"` names, where there is one."""
    chats = list(_CHAT.finditer(said))
    if not chats:
        return f"You said: {said.strip()}"
    last = chats[-1]
    words = f"You said: {html.unescape(last['body']).strip()}"
    sender = _FROM.search(last["attributes"])
    return f'<message to="{sender[1]}">{words}</message>' if sender else words


def last_said(body: Mapping[str, Any]) -> str:
    """Return the text of the newest user message, without what the client adds as reminders; a tool's result counts.

    The client (claude 2.1.330) joins a prompt that was interrupted before it was sent, a mark, and the next prompt
    into one message: then what follows the mark counts.
    """
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            said = _REMINDER.sub("", "\n".join(texts_of(message)))
            return said.rpartition(_INTERRUPTED)[2].strip()
    return ""


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """Return every text in a message, those inside of tool results too, in order."""
    return list(_texts(message.get("content")))


def _texts(content: object) -> Iterable[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict) and block.get("type") == "text":
                yield str(block.get("text", ""))
            elif isinstance(block, dict) and block.get("type") == "tool_result":
                yield from _texts(block.get("content"))
