"""The script of the mock, and the choice of a step for each turn."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cattrs
from attrs import field, frozen
from nanoclaw_wire.atomic_files import write_atomically
from nanoclaw_wire.events import Error, ErrorClass, Usage


@frozen(kw_only=True)
class ToolCall:
    """A tool call of the mock.

    Args:
        name: The tool's name.
        arguments: The tool's arguments.
        timeout_s: The timeout that the call sets, in seconds, for the host's timeouts.
        delay_s: The delay before the tool runs, in seconds.
    """

    name: str
    arguments: dict[str, Any] = field(factory=dict)
    timeout_s: float | None = None
    delay_s: float = 0.0


@frozen(kw_only=True)
class ScriptedError:
    """The failure of a turn."""

    message: str = "scripted"
    retryable: bool = False
    kind: ErrorClass = ErrorClass.INTERNAL

    def as_event(self) -> Error:
        """Return the event of this failure."""
        return Error(message=self.message, retryable=self.retryable, kind=self.kind)


@frozen(kw_only=True)
class Step:
    """One turn of the mock. The README describes each key."""

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
    """The steps, and the number of uses of each.

    Args:
        steps: The steps.
        uses: The file of the counts, so that the script goes on after a sandbox died.
    """

    def __init__(self, steps: Sequence[Step], uses: Path) -> None:
        self._steps, self._uses = steps, uses
        self._used: list[int] = _read_counts(uses, len(steps))

    def take(self, prompt: str) -> Step | None:
        """Return the first step that fits and has uses left, and count the use; None if no step does."""
        for index, step in enumerate(self._steps):
            has_uses = step.times is None or self._used[index] < step.times
            if has_uses and re.search(step.match, prompt):
                self._used[index] += 1
                write_json(self._uses, self._used)
                return step
        return None


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, so that a process that is killed here leaves the old file."""
    write_atomically(path, json.dumps(value).encode(), mode=0o644, sync=False)


def read_steps(options: Mapping[str, str]) -> list[Step]:
    """Return the steps from the option `script` or `script_file`; an empty list if neither is set.

    Raises:
        ValueError: The script is not a list of steps. The message names each fault.
    """
    text = options.get("script")
    if text is None and "script_file" in options:
        text = Path(options["script_file"]).read_text(encoding="utf-8")
    if text is None:
        return []
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        steps = json.loads(text)
        if not isinstance(steps, list):
            raise TypeError(f"must be a list of steps, got {steps!r}")
        return converter.structure(steps, list[Step])
    except Exception as error:  # cattrs raises groups of many types; callers need one message
        raise ValueError(f"[plugins.mock] script: {'; '.join(cattrs.transform_error(error))}") from error


def _read_counts(path: Path, length: int) -> list[int]:
    counts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return counts if len(counts) == length else [0] * length
