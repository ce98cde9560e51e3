"""Decides which rows make the next prompt."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from nanoclaw_runner.content import InboxRow, SlashCommand


@frozen(kw_only=True)
class Batch:
    """Rows that make one prompt, or one row that gives a command.

    Args:
        rows: Oldest first; at least one triggers.
        omitted: Context rows beyond the limit. They are settled with the batch; the model learns only their number.
        command: The command of the single row; None if the rows make a prompt.
    """

    rows: tuple[InboxRow, ...]
    omitted: tuple[InboxRow, ...] = ()
    command: SlashCommand | None = None


@frozen(kw_only=True)
class Choice:
    """The rows to handle next.

    Args:
        batch: None if no row triggers.
        stops: The rows that say `/stop`, which are handled at once.
        has_rest: True if rows are left that the next choice may take.
    """

    batch: Batch | None
    stops: Sequence[InboxRow]
    has_rest: bool


def next_batch(rows: Sequence[InboxRow], *, limit: int, raw_commands: bool) -> Choice:
    """Choose the rows to handle next.

    Context rows (trigger 0) join the first row that triggers and never make a batch alone (⚠4). Rows before a command
    make a batch before it, and a command makes a batch alone.

    Args:
        rows: Oldest first.
        limit: The maximum number of rows. If more context waits, the batch takes the newest.
        raw_commands: True if the provider has slash commands. Otherwise the model reads them like other texts.
    """
    stops = [row for row in rows if row.command is SlashCommand.STOP]
    others = [row for row in rows if row.command is not SlashCommand.STOP]
    commands = (SlashCommand.CLEAR, SlashCommand.RAW) if raw_commands else (SlashCommand.CLEAR,)
    first = next((index for index, row in enumerate(others) if row.command in commands), len(others))
    before = others[:first]
    if any(row.trigger for row in before):
        batch = _window(before, max(limit, 1))
    elif first < len(others):
        batch = Batch(rows=(others[first],), command=others[first].command)
    else:
        return Choice(batch=None, stops=stops, has_rest=False)
    return Choice(batch=batch, stops=stops, has_rest=len(others) > len(batch.rows) + len(batch.omitted))


def _window(rows: Sequence[InboxRow], limit: int) -> Batch:
    trigger = next(index for index, row in enumerate(rows) if row.trigger)
    start = max(0, trigger + 1 - limit)
    return Batch(rows=tuple(rows[start : start + limit]), omitted=tuple(rows[:start]))
