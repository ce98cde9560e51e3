"""Finds the code in a Markdown text: inline code in backticks, and blocks between fences of ``` or ~~~.

The rules are those of CommonMark 0.31 (https://spec.commonmark.org/0.31.2/#code-spans, #fenced-code-blocks). They
differ on purpose where a mistake would hide the end of an answer:

- Inline code ends on the line it begins on. Two stray backticks on two lines (`` `name' `` in an error message of a
  program) are more frequent than inline code with a line break.
- A fence that is never closed begins no code. In CommonMark it hides everything behind it.
- A fence may have any indent and be quoted with `>`, because lists and quotes are not parsed here. Text that is only
  indented is not code: models indent the bodies of messages.

Every look-up is a binary search in lists that are built once, so reading any text of n characters takes O(n log n).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

LONGEST_FENCE = 8  # a longer fence counts as one of this length, so a search for a closing fence tries few lengths

_MARK = re.compile(r"(?P<indent>^[ \t>]*)?(?P<mark>`+|~{3,})", re.MULTILINE)
_INDENT = re.compile(r"[ \t>]*")
_AFTER_CLOSING_FENCE = re.compile(r"[ \t]*(?:\r?(?:\n|\Z)|</(?P<tag>message|internal)\s*>)", re.IGNORECASE)


class Span(NamedTuple):
    """A range of code with its marks: `text[start:end]`."""

    start: int
    end: int


class _Mark(NamedTuple):
    start: int
    length: int
    character: str
    begins_line: bool


class CodeSpans:
    """The code in one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._marks: list[_Mark] = []
        self._runs: defaultdict[int, list[int]] = defaultdict(list)  # starts of runs of backticks, by length
        # Ends of closing fences, by character, length and the tag behind them (empty if there is none).
        self._closing_fences: defaultdict[tuple[str, int, str], list[int]] = defaultdict(list)
        for match in _MARK.finditer(text):
            self._add(match)
        self._starts = [mark.start for mark in self._marks]

    def within(self, start: int, *, closed_by: str = "") -> Iterator[Span]:
        """Yield the code of the document that begins at a position, in order.

        Backticks and tildes that begin no code are yielded as empty spans, so that a reader that stops at a tag need
        not search for the next code, which may be far away.

        Args:
            start: Counts as the beginning of a line.
            closed_by: The kind of tag that ends the document, `message` or `internal`. A fence may close directly
                before that tag, as in "```</message>".
        """
        first = index = bisect_left(self._starts, start)
        while index < len(self._marks):
            mark = self._marks[index]
            begins_line = mark.begins_line or (
                index == first and _INDENT.fullmatch(self._text, start, mark.start) is not None
            )
            span = (self._fenced(mark, closed_by) if begins_line else None) or self._inline(mark)
            yield span or Span(mark.start, mark.start)
            index = bisect_left(self._starts, span.end) if span else index + 1

    def _add(self, match: re.Match[str]) -> None:
        start, run = match.start("mark"), match["mark"]
        begins_line = match["indent"] is not None
        self._marks.append(_Mark(start, len(run), run[0], begins_line))
        if run[0] == "`":
            self._runs[len(run)].append(start)
        if begins_line and len(run) >= 3 and (after := _AFTER_CLOSING_FENCE.match(self._text, match.end())):
            key = (run[0], min(len(run), LONGEST_FENCE), (after["tag"] or "").lower())
            self._closing_fences[key].append(match.end())

    def _fenced(self, mark: _Mark, closed_by: str) -> Span | None:
        """Return the block up to the closing fence; None if the mark opens no block or no fence closes it."""
        if mark.length < 3:
            return None
        line_end = self._line_end(mark.start)
        if mark.character == "`" and self._text.find("`", mark.start + mark.length, line_end) >= 0:
            return None
        candidates = [
            _first(ends, line_end + 1)
            for (character, length, tag), ends in self._closing_fences.items()
            if character == mark.character and length >= min(mark.length, LONGEST_FENCE) and tag in ("", closed_by)
        ]
        end = min((end for end in candidates if end is not None), default=None)
        return None if end is None else Span(mark.start, end)

    def _inline(self, mark: _Mark) -> Span | None:
        """Return the inline code that a run of backticks opens; None if it opens no code."""
        if mark.character != "`":
            return None
        escaped = self._is_escaped(mark.start)
        start, length = mark.start + escaped, mark.length - escaped
        closing = _first(self._runs.get(length, ()), start + length)
        return Span(start, closing + length) if closing is not None and closing < self._line_end(start) else None

    def _is_escaped(self, position: int) -> bool:
        begin = position
        while begin and self._text[begin - 1] == "\\":
            begin -= 1
        return (position - begin) % 2 == 1

    def _line_end(self, position: int) -> int:
        index = bisect_right(self._newlines, position)
        return self._newlines[index] if index < len(self._newlines) else len(self._text)


def _first(positions: Sequence[int], at_least: int) -> int | None:
    index = bisect_left(positions, at_least)
    return positions[index] if index < len(positions) else None
