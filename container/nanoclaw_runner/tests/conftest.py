"""Rows without a database, for the pure parts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from nanoclaw_wire.inbound import InboundMessage, Kind

MakeRow = Callable[..., InboundMessage]


@pytest.fixture
def make_row() -> MakeRow:
    """Make rows with numbers 2, 4, …: chat from room r1 at 3:04 PM, unless said otherwise."""
    numbers = itertools.count(2, 2)

    def make(text: Any = "hello", **fields: Any) -> InboundMessage:
        seq = next(numbers)
        usual = {"id": f"in-{seq}", "seq": seq, "kind": Kind.CHAT, "at": "2026-01-05T15:04:00.000Z"}
        usual |= {"channel": "chat", "room": "r1", "content": json.dumps({"text": text, "sender": "Ann"})}
        return InboundMessage(**{**usual, **fields})

    return make
