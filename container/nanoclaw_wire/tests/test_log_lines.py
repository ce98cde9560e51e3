"""Log lines of the host and of runners: one JSON object per record, of bounded length."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.log_lines import MAX_LINE_BYTES, MAX_PLAIN_BYTES, OWN_KEYS, JsonFormatter, describe, to_line

CONTEXT = {"correlation": "msg-1"}


def line_of(*, context: dict[str, str] | None = None, tracebacks: bool = True, **fields: object) -> str:
    """Format a record with these fields."""
    record = logging.makeLogRecord(
        {"name": "nanoclaw.test", "levelname": "WARNING", "msg": "part failed", "created": 1767625440.125, **fields}
    )
    return JsonFormatter(lambda: context or {}, tracebacks=tracebacks).format(record)


def entry_of(**fields: Any) -> dict[str, Any]:
    entry = json.loads(line_of(**fields), parse_constant=pytest.fail)
    assert isinstance(entry, dict)
    return entry


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


class BrokenError(Exception):
    def __str__(self) -> str:
        raise SystemExit

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemExit


class BrokenTable(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("changed during iteration")


def failure(error: Exception | None = None) -> Any:
    try:
        raise error or ZeroDivisionError("by nothing")
    except Exception as error:
        return (type(error), error, error.__traceback__)


def test_json_line_has_time_level_logger_event_and_values() -> None:
    assert list(entry_of(context=CONTEXT, session="ses-1", wakes=True).items()) == [
        ("timestamp", "2026-01-05T15:04:00.125Z"),
        ("level", "warning"),
        ("logger", "nanoclaw.test"),
        ("event", "part failed"),
        ("session", "ses-1"),
        ("wakes", True),
        ("correlation", "msg-1"),
    ]


def test_json_line_extra_value_wins_over_context() -> None:
    assert entry_of(context=CONTEXT, correlation="msg-2")["correlation"] == "msg-2"


@pytest.mark.parametrize("key", OWN_KEYS)
def test_json_line_extra_value_never_replaces_an_own_key(key: str) -> None:
    entry = entry_of(exc_info=failure(), stack_info="Stack", **{key: "forged"})
    assert entry[key] == entry_of(exc_info=failure(), stack_info="Stack")[key]
    assert entry[f"{key}_"] == "forged"


def test_json_line_has_the_traceback_or_the_error() -> None:
    assert entry_of(exc_info=failure())["exception"].endswith("\nZeroDivisionError: by nothing")
    entry = entry_of(exc_info=failure(), tracebacks=False)
    assert (entry["error"], "exception" in entry) == ("ZeroDivisionError: by nothing", False)


@pytest.mark.parametrize(
    ("message", "values", "event"),
    [
        ("got %s", (Broken(SystemExit()),), "got %s <SystemExit>"),
        ("got %s", (1, 2), "got %s <TypeError>"),
        (Broken(SystemExit()), (), "<Broken: SystemExit> <SystemExit>"),
    ],
    ids=range(3),
)
def test_json_line_of_a_broken_message_has_its_error(message: object, values: Any, event: str) -> None:
    assert entry_of(msg=message, args=values)["event"] == event


def test_json_line_of_an_exception_without_text_has_its_class() -> None:
    """The class of a plugin's error may raise SystemExit for each of its attributes."""
    assert entry_of(exc_info=failure(BrokenError()))["exception"].endswith("BrokenError <SystemExit>")
    assert entry_of(exc_info=failure(BrokenError()), tracebacks=False)["error"].startswith("BrokenError: <BrokenError")


def test_json_line_lets_a_ctrl_c_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        entry_of(value=Broken(KeyboardInterrupt()))


def test_json_line_of_no_exception_has_none() -> None:
    """`exc_info=True` outside an `except` block is a tuple of three None."""
    assert "exception" not in entry_of(exc_info=(None, None, None))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (7, 7),
        (["a", 1], ["a", 1]),
        (Path("/a"), "/a"),
        ({"a": Path("/a")}, {"a": "/a"}),
        (float("nan"), "nan"),
        ([float("inf")], "[inf]"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (10**5000, "<int: ValueError>"),
        (Broken(RuntimeError()), "<Broken: RuntimeError>"),
        (Broken(SystemExit()), "<Broken: SystemExit>"),
        ([Broken(asyncio.CancelledError())], ["<Broken: CancelledError>"]),
        (BrokenTable(a=1), "{'a': 1}"),
        ("\ud800\x1b\u2028", "\ud800\x1b\u2028"),
    ],
    ids=range(14),
)
def test_json_line_is_valid_json_for_any_value(value: object, written: object) -> None:
    entry = entry_of(value=value)
    assert (entry["value"], entry["event"]) == (written, "part failed")


def test_json_line_is_valid_json_for_a_cycle() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    assert entry_of(value=cycle)["value"] == "[[...]]"


@given(st.dictionaries(st.text(max_size=15), st.text(max_size=15), max_size=4))
def test_json_line_is_one_printable_ascii_line(entry: dict[str, str]) -> None:
    line = to_line(entry)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == entry


@pytest.mark.parametrize("character", ["x", "\u2028", '"'])
def test_json_line_long_value_loses_its_middle(character: str) -> None:
    text = character * 100_000
    line = line_of(context=CONTEXT, value=text, tail=f"{text}END", counted=[1] * 100_000)
    entry = json.loads(line)
    assert len(line) <= MAX_PLAIN_BYTES
    assert (entry["event"], entry["correlation"]) == ("part failed", "msg-1")
    assert entry["value"].startswith(text[:20])
    assert " characters ... " in entry["value"]
    assert entry["tail"].endswith("END")
    assert entry["counted"].startswith("[1, 1")


def test_json_line_long_event_and_exception_are_shortened() -> None:
    line = line_of(msg="e" * 100_000, exc_info=failure(), exc_text="", stack_info="s" * 100_000)
    entry = json.loads(line)
    assert len(line) <= MAX_LINE_BYTES
    assert entry["exception"].endswith("ZeroDivisionError: by nothing")
    assert entry["event"].startswith("eee")


def test_json_line_with_too_many_values_counts_them() -> None:
    line = line_of(context={f"value{number}": "x" for number in range(10_000)})
    entry = json.loads(line)
    assert len(line) <= MAX_PLAIN_BYTES
    assert (list(entry), entry["omitted"]) == (["timestamp", "level", "logger", "event", "omitted"], 10_000)


def test_json_line_long_key_is_shortened() -> None:
    line = line_of(context={"k" * 100_000: "x"})
    assert len(line) <= MAX_PLAIN_BYTES
    (key,) = set(json.loads(line)) - set(OWN_KEYS)
    assert " characters ... " in key


def test_describe_has_class_text_and_place() -> None:
    error = failure()[1]
    described = describe(error)
    assert described["error"] == "ZeroDivisionError: by nothing"
    assert re.fullmatch(r"test_log_lines\.py:\d+", described["raised_at"])


def test_describe_has_the_innermost_places() -> None:
    def raise_at(depth: int) -> None:
        raise_at(depth - 1) if depth else json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught:
        raise_at(50)
    places = describe(caught.value)["raised_at"].split()
    assert len(places) == 8
    assert places[-1].startswith("decoder.py:")


def test_describe_survives_any_error() -> None:
    assert describe(BrokenError()) == {"error": "BrokenError: <BrokenError: SystemExit>", "raised_at": ""}
