"""Parses a model's text into the messages for each destination and the text that is not delivered.

Each rule keeps a text from the wrong reader, or keeps an answer from being lost:

1. A tag inside code (see `code_spans`) is text. Code is found in each body, in each `<internal>` and in the text
   between them separately, so that a stray backtick in one body never pairs with one in the next.
2. `<internal>…</internal>` is removed first, at any place and with any content. If it is never closed, it hides the
   rest of its body, and outside of a body the rest of the text, because the end of the thoughts is unknown.
3. `<message to="name">` opens a body if the name is known. The tag may have any case, any white space, double or
   single quotes and further attributes. Any other tag opens nothing and is text.
4. A body ends at the first closing tag outside code. Until then an opening tag in it is text. A body that is never
   closed is not sent.
5. A closing tag inside code still ends the body if no closing tag outside code follows, or if an opening tag for a
   known name comes before that closing tag. Then the seeming code runs from one body into the next, and the rest of
   the first must not reach the reader of the second. People can see a cut quotation, but a leak cannot be undone.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attrs import frozen
from nanoclaw_wire.inbound import Destination

from nanoclaw_runner.code_spans import CodeSpans, Span
from nanoclaw_runner.destinations import find, names

_TAG = re.compile(r"<(?P<slash>/?)(?P<kind>message|internal)(?P<rest>(?:\s[^<>]*)?)>", re.IGNORECASE)
_ATTRIBUTE = r"""\s+([\w:.-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'))?"""
_ONE_ATTRIBUTE, _ATTRIBUTES = re.compile(_ATTRIBUTE), re.compile(rf"(?:{_ATTRIBUTE})+\s*")
MAX_UNKNOWN = 10  # for the log


@frozen
class Block:
    """A message that the model addressed to a destination. The body is never empty."""

    destination: Destination
    body: str


@frozen(kw_only=True)
class Parsed:
    """A parsed text of a model.

    Args:
        blocks: In the order written.
        scratchpad: The text outside of blocks, without thoughts. It is never delivered as a reply.
        unknown: Unknown names in opening tags outside of blocks, each once and at most `MAX_UNKNOWN`.
        is_hiding: True if fewer `<internal>` are closed than opened: the thoughts may hide an answer.
    """

    blocks: tuple[Block, ...] = ()
    scratchpad: str = ""
    unknown: tuple[str, ...] = ()
    is_hiding: bool = False


def parse(text: str, destinations: Sequence[Destination]) -> Parsed:
    """Parse a text by the rules above.

    Args:
        text: The text of a result.
        destinations: The names that open a block.
    """
    reader = _Reader(text, destinations)
    reader.read()
    return Parsed(
        blocks=tuple(reader.blocks),
        scratchpad="".join(reader.outside).strip(),
        unknown=tuple(reader.unknown)[:MAX_UNKNOWN],
        is_hiding=reader.is_hiding,
    )


def correction(destinations: Sequence[Destination]) -> str:
    """Return the prompt that asks the model for its missing block."""
    return (
        '<system>Your response was not delivered: it has no <message to="name">…</message> block with a known name. '
        "Wrap the text for people in such a block and send it again; put thoughts into <internal>…</internal>. "
        f"Known names: {names(destinations)}.</system>"
    )


def needs_correction(parsed: Parsed, *, has_spoken: bool, has_names: bool) -> bool:
    """Return True if the model must learn that its turn delivered nothing.

    That needs a text without a block and a destination to name. A turn in which a tool sent a message is not corrected
    (⚠10).
    """
    wrote = bool(parsed.scratchpad or parsed.is_hiding)
    return wrote and not parsed.blocks and not has_spoken and has_names


class _Tag(NamedTuple):
    """A tag. `name` is its destination as written; None unless it is a well-formed opening tag of a message."""

    start: int
    end: int
    kind: str
    is_closing: bool
    name: str | None

    def opens(self, kind: str) -> bool:
        return self.kind == kind and not self.is_closing

    def closes(self, kind: str) -> bool:
        return self.kind == kind and self.is_closing


class _Reader:
    """Reads a text once, from its start to its end. No step goes back behind the previous one."""

    def __init__(self, text: str, destinations: Sequence[Destination]) -> None:
        self._text, self._destinations = text, destinations
        self._known: dict[str, Destination | None] = {destination.name: destination for destination in destinations}
        # A text without a backtick or a tilde has no code.
        self._code = CodeSpans(text) if "`" in text or "~" in text else None
        self._tags = list(_tags(text))
        self._starts = [tag.start for tag in self._tags]
        self._nests_thoughts = self._closes_thoughts = True
        self.blocks: list[Block] = []
        self.outside: list[str] = []
        self.unknown: dict[str, None] = {}  # an ordered set
        self.is_hiding = False

    def read(self) -> None:
        position = 0
        while position < len(self._text):
            position = self._read_outside(position)

    def _read_outside(self, start: int) -> int:
        """Read the text up to the next block, and that block; return the position behind it."""
        cuts: list[Span] = []
        for event in self._walk(start, "", cuts):
            if isinstance(event, Span) or event.name is None:
                continue
            if destination := self._find(event.name):
                self.outside.append(self._without(cuts, start, event.start))
                return self._read_block(event, destination)
            self.unknown[event.name] = None
        self.outside.append(self._without(cuts, start, len(self._text)))
        return len(self._text)

    def _read_block(self, opening: _Tag, destination: Destination) -> int:
        cuts: list[Span] = []
        quoted: _Tag | None = None

        def end(closing: _Tag, resume: int) -> int:
            body = self._without(cuts, opening.end, closing.start).strip()
            if body:
                self.blocks.append(Block(destination, body))
            self.outside.append(self._without(cuts, closing.end, resume))
            return resume

        for event in self._walk(opening.end, "message", cuts):
            if isinstance(event, Span):
                closing, reopening = self._tags_in_code(event)
                quoted = quoted or closing
                if quoted and reopening:
                    return end(quoted, reopening.start)
            elif event.closes("message"):
                return end(event, event.end)
            elif quoted and self._find(event.name):
                return end(quoted, event.start)
        if quoted:
            return end(quoted, len(self._text))
        self.outside.append(self._without(cuts, opening.start, len(self._text)))
        return len(self._text)

    def _tags_in_code(self, code: Span) -> tuple[_Tag | None, _Tag | None]:
        """Return the first closing tag without an opening tag in this code, and the next tag of a known name."""
        depth, closing = 0, None
        for tag in self._tags_between(code.start, code.end):
            if tag.closes("message"):
                closing = closing or (None if depth else tag)
                depth = max(0, depth - 1)
            elif tag.opens("message"):
                if closing and self._find(tag.name):
                    return closing, tag
                depth += 1
        return closing, None

    def _walk(self, start: int, closed_by: str, cuts: list[Span]) -> Iterator[_Tag | Span]:
        """Yield the tags outside code, and the code, of a document; add its thoughts to `cuts`."""
        position: int | None = start
        while position is not None:
            document, position = position, None
            for event in self._events(document, closed_by):
                if isinstance(event, Span) or not event.opens("internal"):
                    yield event
                    continue
                position = self._end_of_thoughts(event)
                cuts.append(Span(event.start, len(self._text) if position is None else position))
                if position is not None:
                    break
                if not closed_by:
                    return

    def _end_of_thoughts(self, opening: _Tag) -> int | None:
        """Return the end of an `<internal>`: its matching closing tag, else the first one; None if none follows.

        A model that writes `<internal>I put this into <internal> tags.</internal>` closes fewer than it opens. After
        such a text the reader no longer searches for pairs, and after a search without any closing tag it no longer
        searches at all, because each search may reach the end of the text.
        """
        depth, first = 1, None
        for event in self._events(opening.end, "internal") if self._closes_thoughts else ():
            if isinstance(event, Span) or event.kind != "internal":
                continue
            depth += -1 if event.is_closing else 1
            if event.is_closing:
                first = first or event.end
                if depth == 0 or not self._nests_thoughts:
                    return event.end
        self._closes_thoughts = first is not None
        self._nests_thoughts = False
        self.is_hiding = True
        return first

    def _events(self, start: int, closed_by: str) -> Iterator[_Tag | Span]:
        position = start
        for code in self._code.within(start, closed_by=closed_by) if self._code is not None else ():
            yield from self._tags_between(position, code.start)
            if code.end > code.start:
                yield code
            position = code.end
        yield from self._tags_between(position, len(self._text))

    def _tags_between(self, start: int, end: int) -> Iterator[_Tag]:
        for index in range(bisect_left(self._starts, start), len(self._tags)):
            if self._tags[index].start >= end:
                return
            yield self._tags[index]

    def _find(self, name: str | None) -> Destination | None:
        if name is None:
            return None
        if name not in self._known:
            self._known[name] = find(self._destinations, name)
        return self._known[name]

    def _without(self, cuts: Sequence[Span], start: int, end: int) -> str:
        pieces = []
        for cut in cuts:
            if cut.start < end and cut.end > start:
                pieces.append(self._text[start : cut.start])
                start = cut.end
        return "".join([*pieces, self._text[start:end]])


def _tags(text: str) -> Iterator[_Tag]:
    """Yield all tags, inside code or not, except self-closing ones (`<internal/>`)."""
    for match in _TAG.finditer(text):
        is_closing, kind, rest = bool(match["slash"]), match["kind"].lower(), match["rest"]
        if is_closing or not rest.rstrip().endswith("/"):
            name = _name(rest) if kind == "message" and not is_closing else None
            yield _Tag(match.start(), match.end(), kind, is_closing, name)


def _name(attributes: str) -> str | None:
    """Return the value of `to`; None if it is missing or the attributes are malformed."""
    if not _ATTRIBUTES.fullmatch(attributes):
        return None
    for name, double, single in _ONE_ATTRIBUTE.findall(attributes):
        if name.lower() == "to":
            return double or single or None
    return None
