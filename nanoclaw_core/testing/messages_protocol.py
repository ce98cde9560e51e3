"""The protocol of the Anthropic Messages API: validation of requests, errors, and streams of answers.

From https://docs.anthropic.com/en/api/messages, /errors and /streaming. Error texts are the platform's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "Error"),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key does not have permission to use the specified resource"),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}
"""The error type and the usual message of each status."""


class Refused(Exception):
    """The platform refuses a request.

    Args:
        status: One of `ERRORS`.
        message: The reason. Empty for the usual message.
    """

    def __init__(self, status: int, message: str = "") -> None:
        kind, usual = ERRORS[status]
        super().__init__(message or usual)
        self.status, self.kind, self.message = status, kind, message or usual

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the response."""
        error = {"type": self.kind, "message": self.message}
        return {"type": "error", "error": error, "request_id": request_id}


@frozen(kw_only=True)
class Answer:
    """A complete answer, before it is split into events."""

    id: str
    model: str
    text: str
    tool: str = ""
    tool_input: Mapping[str, Any] = field(factory=dict)
    input_tokens: int
    cache_read_tokens: int = 0

    @property
    def output_tokens(self) -> int:
        """The count of output tokens: the words of the text, ten for a tool call, and one."""
        return len(self.text.split()) + (10 if self.tool else 0) + 1

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The content blocks."""
        text = [{"type": "text", "text": self.text}] if self.text or not self.tool else []
        call = {"type": "tool_use", "id": f"toolu_{self.id[4:]}", "name": self.tool, "input": dict(self.tool_input)}
        return [*text, call] if self.tool else text

    @property
    def stop_reason(self) -> str:
        """The reason for the end of the answer."""
        return "tool_use" if self.tool else "end_turn"

    def usage(self, output_tokens: int) -> dict[str, Any]:
        """Return the usage object with this number of output tokens."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.cache_read_tokens,
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }

    def as_message(self) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        frame = {"id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": self.blocks}
        return frame | {
            "stop_reason": self.stop_reason,
            "stop_sequence": None,
            "usage": self.usage(self.output_tokens),
        }


def events_of(answer: Answer) -> Iterator[bytes]:
    """Yield the server-sent events of a streaming answer, each complete."""
    start = answer.as_message() | {"content": [], "stop_reason": None, "usage": answer.usage(1)}
    yield _event({"type": "message_start", "message": start})
    yield _event({"type": "ping"})
    for index, block in enumerate(answer.blocks):
        yield from _block_events(index, block)
    delta = {"stop_reason": answer.stop_reason, "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": answer.output_tokens}})
    yield _event({"type": "message_stop"})


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    if block["type"] == "text":
        empty: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in _pieces(block["text"])]
    else:
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", json.dumps(block["input"]))]
    yield _event({"type": "content_block_start", "index": index, "content_block": empty})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


def _pieces(text: str, size: int = 40) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def check_body(body: object, *, needs_max_tokens: bool = True) -> dict[str, Any]:
    """Validate a request's body, and return it as an object.

    Raises:
        Refused: The platform would refuse the body.
    """
    if not isinstance(body, dict):
        raise Refused(400, "The request body is not valid JSON: an object is required")
    for name in ("model", "max_tokens", "messages") if needs_max_tokens else ("model", "messages"):
        if body.get(name) is None:
            raise Refused(400, f"{name}: Field required")
    if needs_max_tokens and (not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1):
        raise Refused(400, "max_tokens: Input should be greater than or equal to 1")
    _check_messages(body["messages"])
    return body


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: at least one message is required")
    if not isinstance(messages[0], dict) or messages[0].get("role") != "user":
        raise Refused(400, 'messages: first message must use the "user" role')
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        open_calls = _check_message(index, message, open_calls)
    if open_calls:
        raise Refused(400, _unanswered(len(messages) - 1, open_calls))


def _check_message(index: int, message: Mapping[str, Any], open_calls: set[str]) -> set[str]:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise Refused(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
    blocks: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or (not blocks and index == 0):
        raise Refused(400, f"messages.{index}: user messages must have non-empty content")
    answered: set[str] = set()
    for at, block in enumerate(blocks):
        if block.get("type") == "text" and not block.get("text"):
            raise Refused(400, "messages: text content blocks must be non-empty")
        if block.get("type") == "tool_result":
            answered.add(_known_call(f"messages.{index}.content.{at}", block, open_calls))
    if open_calls - answered:
        raise Refused(400, _unanswered(index - 1, open_calls - answered))
    return {str(block["id"]) for block in blocks if block.get("type") == "tool_use"} if role == "assistant" else set()


def _known_call(where: str, block: Mapping[str, Any], open_calls: set[str]) -> str:
    call = str(block.get("tool_use_id"))
    if call not in open_calls:
        raise Refused(
            400,
            f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. Each `tool_result` block must"
            " have a corresponding `tool_use` block in the previous message.",
        )
    return call


def _unanswered(index: int, calls: set[str]) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after:"
        f" {', '.join(sorted(calls))}. Each `tool_use` block must have a corresponding `tool_result` block in"
        " the next message."
    )
