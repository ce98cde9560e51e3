"""Decides which rows make the next prompt."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from nanoclaw_wire.inbound import InboundMessage

from nanoclaw_runner.commands import Command, command_of


@frozen(kw_only=True)
class Batch:
    """Rows that belong together.

    Args:
        rows: Oldest first; at least one triggers.
        left_out: Rows of context that were too many: settled with the batch, told to the model only by their number.
        command: What the single row asks for; None for rows that the model is told.
    """

    rows: tuple[InboundMessage, ...]
    left_out: tuple[InboundMessage, ...] = ()
    command: Command | None = None


def next_batch(rows: Sequence[InboundMessage], *, limit: int, raw_commands: bool) -> Batch | None:
    """Choose from what is pending, oldest first; None while nothing triggers.

    Rows of context (trigger 0) ride along with the first row that triggers and never go alone (⚠4). What comes before
    a command goes before it, and a command goes alone. `/stop` is not for a batch; the caller took it out before.

    Args:
        limit: How many rows at most. Where more context than that waits, the newest is told.
    """
    commands = [command_of(row, raw=raw_commands) for row in rows]
    first = next((index for index, command in enumerate(commands) if command is not None), len(rows))
    before = rows[:first]
    if any(row.trigger for row in before):
        return _window(before, max(limit, 1))
    if first < len(rows):
        return Batch(rows=(rows[first],), command=commands[first])
    return None


def _window(rows: Sequence[InboundMessage], limit: int) -> Batch:
    wakes = next(index for index, row in enumerate(rows) if row.trigger)
    start = max(0, wakes + 1 - limit)
    return Batch(rows=tuple(rows[start : start + limit]), left_out=tuple(rows[:start]))
