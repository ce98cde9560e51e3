"""The script of the fake Messages API: it answers with the first step that fits, or with an echo if none does.

The first conversation request that fits the `when` of a step consumes the step. Requests without tools are the client's
own side requests (a title, a summary). They consume only steps with a `when`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import cattrs
from attrs import field, frozen

_CHAT = re.compile(r"<(?P<kind>message|host-note)\b(?P<attributes>[^>]*)>(?P<body>.*?)</(?P=kind)>", re.DOTALL)
_FROM = re.compile(r'\bfrom="([^"]*)"')
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_INTERRUPTED = "[Request interrupted by user]"


@frozen(kw_only=True)
class Step:
    """One answer.

    Args:
        text: The model's text.
        tool: The name of a tool to call. A text comes before the call.
        input: The arguments of the tool call.
        error: The HTTP status of a failure instead of an answer: 400, 401, 403, 404, 413, 429, 500 or 529.
        message: The error's text. Empty for the platform's usual one.
        retry_after_s: The `retry-after` header of an error, in seconds.
        delay_s: The seconds before the first byte of the answer.
        drop: True to cut the connection in the middle of the answer.
        hold: True to send the beginning and wait for `FakeMessagesApi.release` before the rest.
        when: A text that the last user message of the request must contain. Empty for any request.
        times: The number of requests that use the step; 0 for no limit.
        input_tokens: The reported number; None to count the request's.
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
    """Parse a JSON list of steps.

    Raises:
        ValueError: The text is not a list of steps. The message names each fault.
    """
    try:
        return cattrs.Converter(forbid_extra_keys=True).structure(json.loads(text), list[Step])
    except Exception as error:  # cattrs raises groups of many types; callers need one message
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
        """True if only steps without a limit are left."""
        return all(step.times == 0 for step, _ in self._left)

    def take(self, body: Mapping[str, Any]) -> Step:
        """Return the step for a request, or an echo if no step fits."""
        prompt = last_said(body)
        for index, (step, times) in enumerate(self._left):
            if step.when and step.when not in prompt:
                continue
            if not step.when and not body.get("tools"):
                continue
            if times == 1:
                del self._left[index]
            elif times > 1:
                self._left[index] = (step, times - 1)
            return step
        return Step(text=echo(prompt))


def echo(prompt: str) -> str:
    """Answer a prompt with its own text, in a block for the destination of its `from="…"`, if it has one."""
    chats = list(_CHAT.finditer(prompt))
    if not chats:
        return f"You said: {prompt.strip()}"
    last = chats[-1]
    text = f"You said: {html.unescape(last['body']).strip()}"
    sender = _FROM.search(last["attributes"])
    return f'<message to="{sender[1]}">{text}</message>' if sender else text


def last_said(body: Mapping[str, Any]) -> str:
    """Return the text of the newest user message or tool result, without the client's reminders.

    The client (claude 2.1.330) joins a prompt that was interrupted before it was sent, a mark, and the next prompt
    into one message. Only the text after the mark counts then.
    """
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            text = _REMINDER.sub("", "\n".join(texts_of(message)))
            return text.rpartition(_INTERRUPTED)[2].strip()
    return ""


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """Return all texts of a message in order, including those in tool results."""
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
