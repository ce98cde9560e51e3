import pytest
from nanoclaw_runner.batch import next_batch
from nanoclaw_runner.commands import Command, command_of
from nanoclaw_wire.inbound import Kind


def choose(rows, limit=10, raw_commands=True):
    return next_batch(rows, limit=limit, raw_commands=raw_commands)


def test_nothing_is_taken_where_nothing_triggers(make_row):
    assert choose([]) is None
    assert choose([make_row(trigger=False), make_row(trigger=False)]) is None


def test_warning_04_context_rides_along_and_never_goes_alone(make_row):
    context, asks = make_row(trigger=False), make_row()
    batch = choose([context, asks])
    assert (context, asks) == batch.rows
    assert choose([context]) is None


def test_warning_07_the_oldest_go_first(make_row):
    rows = [make_row() for _ in range(15)]
    assert tuple(rows[:10]) == choose(rows).rows
    assert tuple(rows[10:]) == choose(rows[10:]).rows


def test_of_too_much_context_the_newest_is_told_and_none_blocks_the_message(make_row):
    context = [make_row(trigger=False) for _ in range(12)]
    asks = make_row()
    batch = choose([*context, asks], limit=5)
    assert (*context[8:], asks) == batch.rows
    assert tuple(context[:8]) == batch.left_out


def test_a_command_goes_alone_and_after_what_came_before(make_row):
    rows = [make_row("first"), make_row("/compact"), make_row("last")]
    assert (rows[0],) == choose(rows).rows
    batch = choose(rows[1:])
    assert ((rows[1],), Command.RAW) == (batch.rows, batch.command)


def test_a_command_does_not_take_context_with_it(make_row):
    command = make_row("/compact now")
    assert (command,) == choose([make_row(trigger=False), command]).rows


def test_a_provider_without_commands_is_told_them_like_everything_else(make_row):
    rows = (make_row("a"), make_row("/compact"))
    assert rows == choose(rows, raw_commands=False).rows


@pytest.mark.parametrize("text", ["/clear", "  /CLEAR  ", "/clear now"])
def test_clear_is_the_first_word(make_row, text):
    assert Command.CLEAR is command_of(make_row(text), raw=False)


@pytest.mark.parametrize("text", ["/clearance sale", "/clearx", "clear", "please /clear", "/ clear"])
def test_warning_46_only_the_exact_word_clears(make_row, text):
    assert command_of(make_row(text), raw=False) is None


def test_warning_46_another_agent_gives_no_commands(make_row):
    assert command_of(make_row("/clear", channel="agent", room="ag-peer"), raw=True) is None
    assert command_of(make_row("/clear", channel=None, room=None), raw=True) is None


def test_context_and_tasks_give_no_commands(make_row):
    assert command_of(make_row("/clear", trigger=False), raw=True) is None
    assert command_of(make_row("/clear", kind=Kind.TASK), raw=True) is None
