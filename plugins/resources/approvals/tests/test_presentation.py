"""A request as a human and as an agent see it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nanoclaw_resource_approvals.presentation import MAX_DEPTH, present, structured

from nanoclaw_core import Caller

NO_CONTEXT: Any = None  # an agent gets nothing that needs a host


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('["-c", "ls"]', ["-c", "ls"]),
        ({"env": '{"A": "{\\"B\\": 1}"}'}, {"env": {"A": {"B": 1}}}),
        (["[1]", "text", 2, None], [[1], "text", 2, None]),
        ("[1, 2", "[1, 2"),
        ("7", "7"),
        ('{"a": "evil", "a": "fine"}', '{"a": "evil", "a": "fine"}'),
        ("[1e999]", "[1e999]"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_json_in_a_string_becomes_structure_if_nothing_is_lost(value: object, shown: object) -> None:
    assert structured(value) == shown


def test_deep_json_stays_a_string() -> None:
    text = "0"
    for _ in range(8):
        text = json.dumps([text])
    nested: Any = text
    for _ in range(MAX_DEPTH - 3):
        nested = [nested]
    assert json.dumps(structured(nested)).count("\\") > 0


def test_agent_sees_no_value_inside_json() -> None:
    arguments = {"name": "x", "apt": ["jq"], "env": '{"KEY": "secret"}', "args": '["secret"]', "map": {"a": ["secret"]}}
    outcome = {"id": "1", "ok": True, "data": {"KEY": "secret"}}
    row = {"id": "apr-1", "name": "verb", "status": "pending", "arguments": arguments, "outcome": outcome}
    shown = present(row, Caller(), NO_CONTEXT)
    assert shown["arguments"] == {
        "name": "x",
        "apt": ["jq"],
        "env": {"KEY": "***"},
        "args": ["***"],
        "map": {"a": ["***"]},
    }
    assert shown["outcome"] == {"id": "1", "ok": True}
    assert set(shown) == set(row)
