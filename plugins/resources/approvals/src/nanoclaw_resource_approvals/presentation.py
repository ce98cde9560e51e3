"""Shows a held request to the human who decides about it, and to agents.

A human sees the request beside its effect, and JSON in a string as structure, because an escape within an escape is
hard to read. An agent sees neither the effect, which names directories of the host, nor values inside JSON, which may
be secrets of another conversation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanoclaw_core import Caller, PluginContext

MASK = "***"
UNKNOWN = "the plugin of this request does not describe its effect"
MAX_SUMMARY_CHARACTERS, MAX_VALUE_CHARACTERS = 200, 40
MAX_DEPTH = 50  # of JSON in a request; what is deeper stays a string, or is hidden from agents


def present(row: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
    """Return a row of `approvals` as `list` and `get` show it."""
    if not caller.operator:
        return {name: _for_agents(name, value) for name, value in row.items()}
    shown = {name: structured(value) if name == "arguments" else value for name, value in row.items()}
    if row.get("status") != "pending" or not {"id", "name"} <= row.keys():
        return shown
    effect = context.operations.preview(row["id"])
    effect = UNKNOWN if effect is None else effect
    if "arguments" not in row:
        return shown | {"effect": _summary(effect)}
    before = list(shown)[: list(shown).index("arguments") + 1]
    return {name: shown[name] for name in before} | {"effect": effect} | shown


def structured(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a JSON value with each string that holds a JSON list or object replaced by it."""
    if depth == 0:
        return value
    if isinstance(value, str):
        decoded = _decoded(value)
        return value if decoded is None else structured(decoded, depth - 1)
    if isinstance(value, Mapping):
        return {name: structured(item, depth - 1) for name, item in value.items()}
    return [structured(item, depth - 1) for item in value] if isinstance(value, list) else value


def _decoded(text: str) -> Any:
    """Return the list or object that a text holds, or None if it holds none or would hide a part of the text."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        decoded = json.loads(text, object_pairs_hook=_object)
        json.dumps(decoded, allow_nan=False)  # an answer frame could not hold an infinite number
    except (ValueError, RecursionError):
        return None
    return decoded


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("a key occurs twice")
    return decoded


def _summary(effect: Any) -> str:
    """Return the effect in one line: each change, or why the request would fail."""
    if not isinstance(effect, Mapping):
        return str(effect)[:MAX_SUMMARY_CHARACTERS]
    changes = {name: _word(change) for name, change in effect.items() if name == "fails" or not isinstance(change, str)}
    return "; ".join(f"{name}: {word}" for name, word in changes.items())[:MAX_SUMMARY_CHARACTERS]


def _word(change: Any) -> str:
    if not isinstance(change, Mapping) or not {"before", "after"} <= change.keys():
        return change if isinstance(change, str) else _short(change)
    before, after = change["before"], change["after"]
    if isinstance(after, Mapping | list):
        return "added" if before is None else "replaced"
    return "removed" if isinstance(before, Mapping | list) else f"{_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:MAX_VALUE_CHARACTERS]


def _for_agents(name: str, value: Any) -> Any:
    if name == "arguments" and isinstance(value, Mapping):
        return {key: _masked(argument) for key, argument in value.items()}
    if name == "outcome" and isinstance(value, Mapping):
        return {key: part for key, part in value.items() if key != "data"}  # the agent that asked has it in a note
    return value


def _masked(argument: Any) -> Any:
    """Return an argument without the values inside JSON: plain texts, numbers and lists of them stay."""
    if isinstance(argument, str):
        decoded = _decoded(argument)
        return argument if decoded is None else _leaves_masked(decoded)
    if isinstance(argument, list):
        return [_masked(item) for item in argument]
    return _leaves_masked(argument) if isinstance(argument, Mapping) else argument


def _leaves_masked(value: Any, depth: int = MAX_DEPTH) -> Any:
    if depth and isinstance(value, Mapping):
        return {name: _leaves_masked(item, depth - 1) for name, item in value.items()}
    return [_leaves_masked(item, depth - 1) for item in value] if depth and isinstance(value, list) else MASK
