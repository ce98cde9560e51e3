"""The script a test gives the mock, and which of its steps a turn takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cattrs
from attrs import field, frozen
from nanoclaw_wire.events import Error, ErrorClass, Usage


@frozen(kw_only=True)
class ToolCall:
    """A tool the mock calls.

    Args:
        timeout_s: What the call says it may take, for the host's timeouts.
        delay_s: How long the tool works before it does anything, in seconds.
    """

    name: str
    arguments: dict[str, Any] = field(factory=dict)
    timeout_s: float | None = None
    delay_s: float = 0.0


@frozen(kw_only=True)
class ScriptedError:
    """How a turn fails."""

    message: str = "scripted"
    retryable: bool = False
    kind: ErrorClass = ErrorClass.INTERNAL

    def as_event(self) -> Error:
        """Return the event."""
        return Error(message=self.message, retryable=self.retryable, kind=self.kind)


@frozen(kw_only=True)
class Step:
    """What the mock does in one turn; the README tells each key."""

    match: str = ""
    times: int | None = 1
    reply: str | None = None
    text: str | None = None
    tools: list[ToolCall] = field(factory=list)
    delay_s: float = 0.0
    error: ScriptedError | None = None
    progress: str | None = None
    usage: Usage | None = None
    crash: int | None = None
    raises: str | None = None
    ends: bool = False


class Script:
    """Steps, and how often each was used.

    Args:
        uses: Where the counts are kept, so that a sandbox that dies does not start over.
    """

    def __init__(self, steps: Sequence[Step], uses: Path) -> None:
        self._steps, self._uses = steps, uses
        self._used: list[int] = _read_counts(uses, len(steps))

    def take(self, prompt: str) -> Step | None:
        """Return the first step that fits and has uses left, and count it; None where there is none."""
        for index, step in enumerate(self._steps):
            has_uses = step.times is None or self._used[index] < step.times
            if has_uses and re.search(step.match, prompt):
                self._used[index] += 1
                keep(self._uses, self._used)
                return step
        return None


def keep(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all: whoever is killed over it leaves what was there before."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)


def read_steps(options: Mapping[str, str]) -> list[Step]:
    """Return the steps of the options `script` or `script_file`; none without either.

    Raises:
        ValueError: It is not a list of steps; the message says what is wrong.
    """
    text = options.get("script")
    if text is None and "script_file" in options:
        text = Path(options["script_file"]).read_text(encoding="utf-8")
    if text is None:
        return []
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        found = json.loads(text)
        if not isinstance(found, list):
            raise TypeError(f"it must be a list of steps, not {found!r}")
        return converter.structure(found, list[Step])
    except Exception as error:  # cattrs raises groups of many kinds; one message is what the reader needs
        raise ValueError(f"the mock's script: {'; '.join(cattrs.transform_error(error))}") from error


def _read_counts(path: Path, length: int) -> list[int]:
    counts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return counts if len(counts) == length else [0] * length
