"""Model and token counts of answers in pieces of any size."""

from __future__ import annotations

import json

import pytest
from nanoclaw_provider_claude.usage import MAX_JSON_BYTES, MAX_LINE_BYTES, MessagesUsage

from nanoclaw_core import TokenCount
from nanoclaw_core.testing.messages_protocol import Answer, events_of

ANSWER = Answer(id="msg_1", model="a-model", text="three little words " * 20, input_tokens=11, cache_read_tokens=31)
COUNT = TokenCount(model="a-model", input_tokens=42, output_tokens=61)


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_stream_in_pieces_of_any_size_is_counted(size: int) -> None:
    reader, body = MessagesUsage("text/event-stream; charset=utf-8"), b"".join(events_of(ANSWER))
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    assert reader.count() == COUNT


def test_json_answer_is_counted() -> None:
    reader, body = MessagesUsage("application/json"), json.dumps(ANSWER.as_message()).encode()
    reader.feed(body[:50])
    reader.feed(body[50:])
    assert reader.count() == COUNT


def test_broken_stream_counts_its_beginning() -> None:
    reader = MessagesUsage("text/event-stream")
    reader.feed(next(events_of(ANSWER)))
    assert reader.count() == TokenCount(model="a-model", input_tokens=42, output_tokens=1)


def test_content_that_looks_like_usage_is_not_counted() -> None:
    trap = Answer(
        id="msg_1", model="a-model", text='{"type":"message_delta","usage":{"output_tokens":9}}', input_tokens=1
    )
    reader = MessagesUsage("text/event-stream")
    for event in list(events_of(trap))[:-2]:
        reader.feed(event)
    assert reader.count().output_tokens == 1


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"usage": 3}', b'{"usage": {"input_tokens": "x"}}'])
def test_other_body_counts_nothing(body: bytes) -> None:
    reader = MessagesUsage("application/json")
    reader.feed(body)
    assert reader.count() == TokenCount()


def test_buffers_stay_within_limits() -> None:
    stream, whole = MessagesUsage("text/event-stream"), MessagesUsage("application/json")
    for _ in range(64):
        stream.feed(b"x" * 65_536)
        whole.feed(b"x" * 65_536)
        assert len(stream._buffer) <= MAX_LINE_BYTES
        assert len(whole._buffer) <= MAX_JSON_BYTES
    stream.feed(b"\n" + b"".join(events_of(ANSWER)))
    assert stream.count() == COUNT
    assert whole.count() == TokenCount()
