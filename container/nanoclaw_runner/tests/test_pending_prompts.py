"""Tests of the prompts that a result settles: those that it names, and a guess if it names none."""

import math

import pytest
from nanoclaw_runner.pending_prompts import LONG_SILENCE_S, SILENCE_S, PendingPrompts, Prompt
from nanoclaw_runner.testing import FAMILY
from nanoclaw_wire.events import Alive, Init, TookIn, ToolEnded

TURN_BEGINS, TOOL_ENDED = Init(continuation="c"), ToolEnded(tool="Bash")


def new_prompt(make_row, **fields):
    return Prompt(rows=(make_row(),), **fields)


def running(make_row, count):
    """Return pending prompts with a turn that began with the first of `count`, and the list of them."""
    pending, prompts = PendingPrompts(), [new_prompt(make_row) for _ in range(count)]
    for prompt in prompts:
        pending.pushed(prompt, 0)
    return pending, prompts


def test_named_result_settles_exactly_its_prompts(make_row):
    """The second prompt joined, and the third did not."""
    pending, [first, second, third] = running(make_row, 3)
    assert pending.ended(1, [first.id, second.id]).prompts == [first, second]
    assert pending.close() == [third]


def test_named_result_may_skip_an_older_prompt(make_row):
    """The answer is about the second prompt, so the first keeps waiting."""
    pending, [first, second] = running(make_row, 2)
    assert pending.ended(1, [second.id]).prompts == [second]
    assert pending.close() == [first]


def test_ended_turn_has_its_rows_names_and_raw_command(make_row):
    """The rows are those that the model read, and other prompts still wait."""
    pending = PendingPrompts()
    raw = new_prompt(make_row, is_raw=True, omitted=(make_row(),), destinations=(FAMILY,))
    pending.pushed(raw, 0)
    pending.pushed(new_prompt(make_row), 0)
    pending.has_spoken = True
    turn = pending.ended(1, [raw.id])
    assert (turn.rows, turn.destinations, turn.raw) == (list(raw.rows), [FAMILY], raw)
    assert (turn.may_be_corrected, turn.has_spoken, turn.others_wait) == (False, True, True)
    assert not pending.has_spoken


def test_ended_turn_of_a_correction_may_not_be_corrected(make_row):
    pending, [first] = running(make_row, 1)
    pending.pushed(new_prompt(make_row, is_correction=True), 0)
    assert pending.ended(1, [first.id]).may_be_corrected
    turn = pending.ended(2, None)
    assert (turn.may_be_corrected, turn.others_wait) == (False, False)


def test_result_that_names_no_prompt_settles_nothing(make_row):
    """A background task of the provider ends while a prompt waits for its turn."""
    pending, [first] = running(make_row, 1)
    turn = pending.ended(1, [])
    assert (turn.prompts, turn.may_be_corrected) == ([], False)
    assert pending.close() == [first]


def test_result_with_an_unknown_id_settles_nothing(make_row):
    """A provider names a prompt of an earlier query."""
    pending, [first] = running(make_row, 1)
    assert pending.ended(1, ["gone"]).prompts == []
    assert pending.close() == [first]


def test_silence_after_a_named_result_settles_nothing(make_row):
    """The provider would have named the second prompt, so it has not answered it."""
    pending, [first, _second] = running(make_row, 2)
    pending.ended(1, [first.id])
    assert not pending.is_in_doubt
    assert pending.silence_ends_at() is None


def test_unnamed_result_settles_prompts_of_a_tool_end(make_row):
    """A tool ended after the second prompt, so the model has read it."""
    pending, [first, second] = running(make_row, 2)
    pending.heard(TOOL_ENDED, 1)
    third = new_prompt(make_row)
    pending.pushed(third, 1)
    assert pending.ended(2, None).prompts == [first, second]
    assert pending.is_in_doubt


def test_unnamed_result_after_interrupt_settles_the_first(make_row):
    """The tool ended because of the interrupt, so the model read no further prompt."""
    pending, [first, second] = running(make_row, 2)
    pending.interrupted()
    pending.heard(TOOL_ENDED, 1)
    assert pending.ended(1, None).prompts == [first]
    assert pending.close() == [second]


def test_answering_returns_the_prompts_taken_in(make_row):
    """A tool that sends during the turn answers these prompts and no others."""
    pending, [first, second, _third] = running(make_row, 3)
    pending.heard(TookIn(pushes=[first.id, second.id]), 1)
    assert pending.answering == [first, second]


def test_answering_in_the_providers_own_turn_is_empty(make_row):
    """The provider began the turn by itself; a prompt that comes meanwhile is not part of it."""
    pending = PendingPrompts()
    pending.heard(TURN_BEGINS, 0)
    pending.pushed(new_prompt(make_row), 1)
    assert pending.answering == []


def test_failed_with_ids_merges_its_prompts(make_row):
    """One prompt repeats both, with the higher count of failures."""
    pending = PendingPrompts()
    first, second = new_prompt(make_row, failures=2), new_prompt(make_row, omitted=(make_row(),))
    pending.pushed(first, 0)
    pending.pushed(second, 0)
    failed = pending.failed([first.id, second.id])
    assert failed.rows == (*first.rows, *second.rows)
    assert (failed.omitted, failed.failures) == (second.omitted, 2)


def test_failed_without_ids_returns_the_oldest_prompt(make_row):
    """The provider died without a word; the other prompt is pushed again and loses nothing."""
    pending, [first, _second] = running(make_row, 2)
    pending.heard(TOOL_ENDED, 1)
    assert pending.failed(None) is first


def test_failed_raw_command_is_not_merged(make_row):
    """A slash command works only alone, so the prompt that joined its turn follows it."""
    pending = PendingPrompts()
    raw, second = new_prompt(make_row, is_raw=True), new_prompt(make_row)
    pending.pushed(raw, 0)
    pending.pushed(second, 0)
    assert pending.failed([raw.id, second.id]) is raw


def test_unnamed_result_settles_the_first_prompt_of_its_turn(make_row):
    pending, first = PendingPrompts(), new_prompt(make_row)
    pending.pushed(first, 0)
    assert [first] == pending.ended(1, None).prompts
    assert pending.is_settled


@pytest.mark.defect(number=6)
def test_unnamed_result_keeps_a_prompt_pushed_meanwhile(make_row):
    pending, first, second = PendingPrompts(), new_prompt(make_row), new_prompt(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    assert [first] == pending.ended(2, None).prompts
    assert [second] == pending.answering


def test_prompt_with_its_own_turn_is_settled_by_its_result(make_row):
    pending, first, second = PendingPrompts(), new_prompt(make_row), new_prompt(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    pending.ended(2, None)
    pending.heard(TURN_BEGINS, 2.1)
    assert [second] == pending.ended(3, None).prompts


def test_unannounced_result_settles_the_prompt_in_doubt(make_row):
    pending, first, second = PendingPrompts(), new_prompt(make_row), new_prompt(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    pending.ended(2, None)
    pending.heard(Alive(), 2.1)
    assert [second] == pending.ended(3, None).prompts


def test_silence_settles_the_prompt_in_doubt(make_row):
    pending, first, second = PendingPrompts(), new_prompt(make_row), new_prompt(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    pending.ended(2, None)
    assert pending.settle_by_silence(2 + SILENCE_S - 0.1) == []
    assert [second] == pending.settle_by_silence(2 + SILENCE_S)
    assert pending.is_settled


def test_sign_of_life_extends_the_silence(make_row):
    pending = PendingPrompts()
    pending.pushed(new_prompt(make_row), 0)
    pending.pushed(new_prompt(make_row), 1)
    pending.ended(2, None)
    pending.heard(Alive(), 3)
    assert pending.silence_ends_at() == 3 + LONG_SILENCE_S


def test_silence_can_settle_a_prompt_of_an_open_turn_soon(make_row):
    """The turn may end at once with a result that names no prompt; without prompts there is nothing to settle."""
    pending = PendingPrompts()
    assert pending.settles_earliest_at(7) == math.inf
    pending.pushed(new_prompt(make_row), 0)
    pending.pushed(new_prompt(make_row), 1)
    assert pending.settles_earliest_at(7) == 7 + SILENCE_S
    pending.ended(8, None)
    assert pending.settles_earliest_at(9) == 8 + SILENCE_S


def test_silence_in_a_known_turn_settles_nothing(make_row):
    pending = PendingPrompts()
    pending.pushed(new_prompt(make_row), 0)
    assert pending.silence_ends_at() is None
    assert pending.settle_by_silence(1_000_000) == []


def test_unnamed_results_settle_one_prompt_each_in_order(make_row):
    pending = PendingPrompts()
    prompts = [new_prompt(make_row) for _ in range(3)]
    for prompt in prompts:
        pending.pushed(prompt, 0)
    answered = [pending.ended(at, None).prompts for at in (1, 2, 3)]
    assert answered == [[prompt] for prompt in prompts]
    assert pending.ended(4, None).prompts == []


def test_result_of_the_providers_own_turn_settles_nothing(make_row):
    pending, mine = PendingPrompts(), new_prompt(make_row)
    pending.heard(TURN_BEGINS, 0)
    pending.pushed(mine, 1)
    assert pending.ended(2, None).prompts == []
    assert [mine] == pending.answering


def test_close_returns_the_unsettled_prompts(make_row):
    pending, first, second = PendingPrompts(), new_prompt(make_row), new_prompt(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 0)
    assert [first, second] == pending.close()
    assert pending.is_settled
    assert not pending.is_running
