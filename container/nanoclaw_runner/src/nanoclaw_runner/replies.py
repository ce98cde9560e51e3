"""Reads what a model wrote: what goes to whom, and what stays here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen
from nanoclaw_wire.inbound import Destination

from nanoclaw_runner.destinations import names

_OPENING = re.compile(r'<message to="([^"]*)"\s*>')
_CLOSING = "</message>"
_INTERNAL = re.compile(r"<internal>.*?</internal>", re.DOTALL)


@frozen
class Block:
    """Something the model wants delivered."""

    to: str
    body: str


@frozen(kw_only=True)
class Parsed:
    """A model's last word, taken apart.

    Args:
        blocks: In the order written; never with an empty body.
        scratchpad: What stands outside of blocks, thoughts in `<internal>` taken out. It is never delivered as a reply.
    """

    blocks: tuple[Block, ...]
    scratchpad: str


def parse(text: str) -> Parsed:
    """Take a text apart.

    A block ends at the *last* closing tag before the next opening one, so that a body may quote a closing tag. A block
    that is never closed is no block: half a message is not sent.
    """
    blocks: list[Block] = []
    outside: list[str] = []
    for to, piece in _pieces(text):
        end = piece.rfind(_CLOSING) if to is not None else -1
        if to is None or end < 0:
            outside.append(piece)
            continue
        body = piece[:end].strip()
        if body:
            blocks.append(Block(to, body))
        outside.append(piece[end + len(_CLOSING) :])
    return Parsed(blocks=tuple(blocks), scratchpad=strip_internal("".join(outside)))


def strip_internal(text: str) -> str:
    """Take out what the model marked as its own thoughts, and the space around the rest."""
    # Behind the last closing tag nothing can match, and looking there would take the square of its length.
    before, tag, behind = text.rpartition("</internal>")
    return (_INTERNAL.sub("", before + tag) + behind).strip()


def correction(destinations: Sequence[Destination]) -> str:
    """Return what the model is told once when nothing of its turn could be delivered."""
    return (
        '<system>Your response was not delivered: it has no <message to="name">…</message> block with a known name. '
        "Wrap what people should read in such a block and send it again; put thoughts into <internal>…</internal>. "
        f"Known names: {names(destinations)}.</system>"
    )


def needs_correction(parsed: Parsed, *, sent: int, has_spoken: bool, is_corrected: bool, has_names: bool) -> bool:
    """Decide whether the model is told, once a turn, that nothing it wrote reaches anybody.

    Not where a tool already sent something in this turn, and not where the turn has no text (⚠10).

    Args:
        sent: How many blocks had a known destination.
    """
    wrote = bool(parsed.scratchpad or parsed.blocks)
    return wrote and not sent and not has_spoken and not is_corrected and has_names


def _pieces(text: str) -> Iterator[tuple[str | None, str]]:
    """Cut a text before each opening tag; yield the name in the tag (None for the start) and what follows it."""
    openings = list(_OPENING.finditer(text))
    yield None, text[: openings[0].start()] if openings else text
    for index, opening in enumerate(openings):
        end = openings[index + 1].start() if index + 1 < len(openings) else len(text)
        yield opening.group(1), text[opening.end() : end]
