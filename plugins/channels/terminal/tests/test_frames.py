"""Parsing of valid and invalid lines from a terminal."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_channel_terminal.frames import (
    BadFrame,
    OperatorMessage,
    SeenNotice,
    TransferredFile,
    parse_terminal_frame,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FILES = st.lists(
    st.fixed_dictionaries({"name": JSON, "content": JSON}, optional={"mime_type": JSON}) | JSON, max_size=2
)
FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(["say", "seen", "other"]) | JSON},
    optional={"id": st.text(max_size=5) | JSON, "text": JSON, "files": FILES | JSON},
)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"type": ' + b"[" * 100_000,
        b'{"type": "say", "id": "1", "files": [{"name": "a", "content": "\xc3\xa9"}]}',
        b'{"type": "say", "id": "1", "files": [{"name": "a", "content": "="}]}',
        b'{"type": "say", "id": "1", "text": ' + b"9" * 5_000 + b"}",
        b"\xff",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_parse_terminal_frame_refuses_an_invalid_line(raw: bytes) -> None:
    with pytest.raises(BadFrame):
        parse_terminal_frame(raw)


@given(FRAMES)
def test_parse_terminal_frame_accepts_only_valid_objects(frame: dict[str, object]) -> None:
    with suppress(BadFrame):
        parsed = parse_terminal_frame(json.dumps(frame).encode())
        assert isinstance(parsed, OperatorMessage | SeenNotice)
        if isinstance(parsed, OperatorMessage):
            assert isinstance(parsed.text, str)
            assert all(isinstance(file, TransferredFile) for file in parsed.files)
