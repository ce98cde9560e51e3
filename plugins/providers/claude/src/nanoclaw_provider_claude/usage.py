"""Model and tokens out of an answer of the Messages API, while it streams by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanoclaw_core import TokenCount

MAX_LINE_BYTES = 64 * 1024  # the events that carry usage are below 2 KiB; longer lines are content
MAX_JSON_BYTES = 1024**2  # the longest answer of any model, 128 000 tokens, is below that

_WITH_USAGE = (b'"message_start"', b'"message_delta"')
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class MessagesUsage:
    """Reads an answer of `/v1/messages`: server-sent events, or one JSON object.

    Keeps one line of events at a time, or the object up to `MAX_JSON_BYTES`; a longer one is not counted.

    Args:
        content_type: Of the answer.
    """

    def __init__(self, content_type: str) -> None:
        self._streams = content_type.startswith("text/event-stream")
        self._limit = MAX_LINE_BYTES if self._streams else MAX_JSON_BYTES
        self._kept = bytearray()
        self._is_too_long = False
        self._model: str | None = None
        self._tokens: dict[str, int] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next piece."""
        if not self._streams:
            self._keep(chunk)
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._keep(line)
            self._read_line()
        self._keep(rest)

    def count(self) -> TokenCount:
        """Say what was seen so far."""
        if not self._streams and self._kept:
            self._take(_object(bytes(self._kept)))
        asked = [self._tokens[name] for name in _INPUT if name in self._tokens]
        return TokenCount(
            model=self._model,
            input_tokens=sum(asked) if asked else None,
            output_tokens=self._tokens.get("output_tokens"),
        )

    def _keep(self, piece: bytes) -> None:
        if len(self._kept) + len(piece) > self._limit:
            self._is_too_long = True
            self._kept.clear()
        elif not self._is_too_long:
            self._kept += piece

    def _read_line(self) -> None:
        line = bytes(self._kept)
        self._kept.clear()
        self._is_too_long = False
        if line.startswith(b"data:") and any(mark in line for mark in _WITH_USAGE):
            event = _object(line[5:])
            self._take(event.get("message") or event)

    def _take(self, carrier: object) -> None:
        """Take model and usage; later counts are totals and replace earlier ones."""
        if not isinstance(carrier, Mapping):
            return
        model, usage = carrier.get("model"), carrier.get("usage")
        self._model = model if isinstance(model, str) else self._model
        if isinstance(usage, Mapping):
            found = {name: usage.get(name) for name in (*_INPUT, "output_tokens")}
            self._tokens |= {name: value for name, value in found.items() if isinstance(value, int)}


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}
