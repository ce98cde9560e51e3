"""Tests of the choice of the next batch, and of slash commands."""

import pytest
from nanoclaw_runner.batch import next_batch
from nanoclaw_runner.content import SlashCommand
from nanoclaw_wire.inbound import Kind


def choose(rows, limit=10, raw_commands=True):
    return next_batch(rows, limit=limit, raw_commands=raw_commands).batch


def test_next_batch_without_trigger_is_none(make_row):
    assert choose([]) is None
    assert choose([make_row(trigger=False), make_row(trigger=False)]) is None


@pytest.mark.defect(number=4)
def test_next_batch_context_joins_a_triggering_row(make_row):
    context, asks = make_row(trigger=False), make_row()
    batch = choose([context, asks])
    assert (context, asks) == batch.rows
    assert choose([context]) is None


@pytest.mark.defect(number=7)
def test_next_batch_takes_the_oldest_rows_first(make_row):
    rows = [make_row() for _ in range(15)]
    assert tuple(rows[:10]) == choose(rows).rows
    assert tuple(rows[10:]) == choose(rows[10:]).rows


def test_next_batch_has_rest_counts_rows_it_left(make_row):
    """A `/stop` is handled at once, and context beyond the limit is settled with the batch."""
    rows = [make_row(trigger=False), make_row("/stop"), make_row(), make_row()]
    assert not next_batch(rows[:3], limit=1, raw_commands=True).has_rest
    assert next_batch(rows, limit=1, raw_commands=True).has_rest
    assert next_batch([make_row(), make_row("/clear")], limit=9, raw_commands=True).has_rest


def test_next_batch_too_much_context_takes_the_newest(make_row):
    """The omitted context does not block the message."""
    context = [make_row(trigger=False) for _ in range(12)]
    asks = make_row()
    batch = choose([*context, asks], limit=5)
    assert (*context[8:], asks) == batch.rows
    assert tuple(context[:8]) == batch.omitted


def test_next_batch_command_comes_alone_after_earlier_rows(make_row):
    rows = [make_row("first"), make_row("/compact"), make_row("last")]
    assert (rows[0],) == choose(rows).rows
    batch = choose(rows[1:])
    assert ((rows[1],), SlashCommand.RAW) == (batch.rows, batch.command)


def test_next_batch_command_omits_context(make_row):
    command = make_row("/compact now")
    assert (command,) == choose([make_row(trigger=False), command]).rows


def test_next_batch_without_raw_commands_treats_them_as_text(make_row):
    rows = (make_row("a"), make_row("/compact"))
    assert rows == choose(rows, raw_commands=False).rows


@pytest.mark.parametrize("text", ["/clear", "  /CLEAR  ", "/clear now"])
def test_command_clear_is_the_first_word(make_row, text):
    assert SlashCommand.CLEAR is make_row(text).command


@pytest.mark.parametrize("text", ["/clearance sale", "/clearx", "clear", "please /clear", "/ clear"])
@pytest.mark.defect(number=46)
def test_command_other_word_is_not_clear(make_row, text):
    assert make_row(text).command is not SlashCommand.CLEAR


@pytest.mark.defect(number=46)
def test_command_of_another_agent_is_none(make_row):
    assert make_row("/clear", channel="agent", room="ag-peer").command is None
    assert make_row("/clear", channel=None, room=None).command is None


def test_command_of_context_or_task_is_none(make_row):
    assert make_row("/clear", trigger=False).command is None
    assert make_row("/clear", kind=Kind.TASK).command is None
