"""Fixtures for tests without a database."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from nanoclaw_runner.content import InboxRow, parse
from nanoclaw_wire.inbound import InboundMessage, Kind

MakeRow = Callable[..., InboxRow]


@pytest.fixture
def make_row() -> MakeRow:
    """Return a function that makes rows 2, 4, …; by default a chat message from room r1 at 3:04 PM."""
    numbers = itertools.count(2, 2)

    def make(text: Any = "hello", **fields: Any) -> InboxRow:
        seq = next(numbers)
        values = {"id": f"in-{seq}", "seq": seq, "kind": Kind.CHAT, "at": "2026-01-05T15:04:00.000Z"}
        values |= {"channel": "chat", "room": "r1", "content": json.dumps({"text": text, "sender": "Ann"})}
        row = parse(InboundMessage(**{**values, **fields}))
        assert row is not None, "the content must be a JSON object"
        return row

    return make
