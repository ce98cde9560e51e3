"""Every log call has a constant phrase and allowed names of values.

No value has the name of an attribute of LogRecord or of a line's own key.

A name of LogRecord in `extra` raises when the line is written, which is usually while another error is handled. An own
key of the line would get another name.
"""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_wire.log_lines import OWN_KEYS

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", *OWN_KEYS}
OURS = ("nanoclaw_core", "container/*/src", "plugins/*/*/src")


def sources() -> list[Path]:
    return sorted(path for pattern in OURS for folder in ROOT.glob(pattern) for path in folder.rglob("*.py"))


def log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            name = node.func.value
            text = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
            if text.lstrip("_") in ("log", "logger"):
                yield node


def names_of(call: ast.Call) -> list[object]:
    """Return the literal names in `extra`, also if it combines several dictionaries."""
    extra = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
    tables = [node for value in extra for node in ast.walk(value) if isinstance(node, ast.Dict)]
    return [key.value for table in tables for key in table.keys if isinstance(key, ast.Constant)]


def calls() -> list[tuple[str, ast.Call]]:
    """Return all log calls with their files and lines."""
    located = []
    for path in sources():
        for call in log_calls(ast.parse(path.read_text(encoding="utf-8"))):
            located.append((f"{path.relative_to(ROOT)}:{call.lineno}", call))
    return located


def test_log_calls_are_found() -> None:
    assert len(calls()) > 30


def test_log_values_have_no_reserved_names() -> None:
    wrong = [f"{where}: {name}" for where, call in calls() for name in names_of(call) if name in RESERVED]
    assert wrong == []


def test_log_phrases_are_constant_and_lower_case() -> None:
    wrong = []
    for where, call in calls():
        phrase = call.args[1 if getattr(call.func, "attr", "") == "log" else 0]
        if not (isinstance(phrase, ast.Constant) and isinstance(phrase.value, str) and phrase.value[:1].islower()):
            wrong.append(where)
    assert wrong == []


@pytest.mark.parametrize("name", ["message", "name", "module", "args", "created"])
def test_reserved_log_name_raises(name: str) -> None:
    with pytest.raises(KeyError):
        logging.getLogger("nanoclaw.test").error("event", extra={name: "x"})
