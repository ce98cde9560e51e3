"""Reads the model and the token counts from an answer of the Messages API while it streams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanoclaw_core import TokenCount

MAX_LINE_BYTES = 64 * 1024  # events with usage have less than 2 KiB; longer lines are content
MAX_JSON_BYTES = 1024**2  # the longest answer of any model, 128 000 tokens, is smaller

_WITH_USAGE = (b'"message_start"', b'"message_delta"')
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class MessagesUsage:
    """Counts the tokens of an answer of `/v1/messages`: server-sent events, or one JSON object.

    It buffers one line of events at a time, or the object up to `MAX_JSON_BYTES`. A longer object is not counted.

    Args:
        content_type: The answer's content type.
    """

    def __init__(self, content_type: str) -> None:
        self._streams = content_type.startswith("text/event-stream")
        self._limit = MAX_LINE_BYTES if self._streams else MAX_JSON_BYTES
        self._buffer = bytearray()
        self._is_too_long = False
        self._model: str | None = None
        self._tokens: dict[str, int] = {}

    def feed(self, chunk: bytes) -> None:
        """Read the next piece."""
        if not self._streams:
            self._append(chunk)
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._append(line)
            self._read_line()
        self._append(rest)

    def count(self) -> TokenCount:
        """Return the counts so far."""
        if not self._streams and self._buffer:
            self._record(_object(bytes(self._buffer)))
        inputs = [self._tokens[name] for name in _INPUT if name in self._tokens]
        return TokenCount(
            model=self._model,
            input_tokens=sum(inputs) if inputs else None,
            output_tokens=self._tokens.get("output_tokens"),
        )

    def _append(self, piece: bytes) -> None:
        if len(self._buffer) + len(piece) > self._limit:
            self._is_too_long = True
            self._buffer.clear()
        elif not self._is_too_long:
            self._buffer += piece

    def _read_line(self) -> None:
        line = bytes(self._buffer)
        self._buffer.clear()
        self._is_too_long = False
        if line.startswith(b"data:") and any(mark in line for mark in _WITH_USAGE):
            event = _object(line[5:])
            self._record(event.get("message") or event)

    def _record(self, carrier: object) -> None:
        """Record model and usage. Later counts are totals and replace earlier ones."""
        if not isinstance(carrier, Mapping):
            return
        model, usage = carrier.get("model"), carrier.get("usage")
        self._model = model if isinstance(model, str) else self._model
        if isinstance(usage, Mapping):
            counts = {name: usage.get(name) for name in (*_INPUT, "output_tokens")}
            self._tokens |= {name: value for name, value in counts.items() if isinstance(value, int)}


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}
