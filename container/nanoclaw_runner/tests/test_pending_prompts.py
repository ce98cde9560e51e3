"""What a result settles: the pushes that it names, and a guess if it names none."""

from nanoclaw_runner.pending_prompts import LONG_SILENCE_S, SILENCE_S, PendingPrompts, Prompt


def push(make_row, **fields):
    return Prompt(rows=(make_row(),), **fields)


def running(make_row, count):
    """Return a pending with a turn that began with the first of some pushes, and the pushes."""
    pending, pushes = PendingPrompts(), [push(make_row) for _ in range(count)]
    for one in pushes:
        pending.pushed(one, 0)
    return pending, pushes


def test_ledger_result_settles_exactly_the_pushes_it_names(make_row):
    """The second push joined and the third did not."""
    pending, [first, second, third] = running(make_row, 3)
    assert pending.ended(1, [first.id, second.id]) == [first, second]
    assert pending.close() == [third]


def test_ledger_result_may_name_a_younger_push(make_row):
    """The answer is about the second push, so the first keeps waiting."""
    pending, [first, second] = running(make_row, 2)
    assert pending.ended(1, [second.id]) == [second]
    assert pending.close() == [first]


def test_ledger_result_that_names_nobody_settles_nothing(make_row):
    """A background task of the provider ends while a push waits for its turn."""
    pending, [first] = running(make_row, 1)
    assert pending.ended(1, []) == []
    assert pending.close() == [first]


def test_ledger_unknown_id_settles_nothing(make_row):
    """A provider names a push of an earlier conversation."""
    pending, [first] = running(make_row, 1)
    assert pending.ended(1, ["gone"]) == []
    assert pending.close() == [first]


def test_ledger_silence_settles_nothing_after_named_result(make_row):
    """The provider would have named the second push, so it has not answered it."""
    pending, [first, _second] = running(make_row, 2)
    pending.ended(1, [first.id])
    assert not pending.is_in_doubt
    assert pending.silence_ends_at() is None


def test_ledger_guess_settles_what_waited_at_a_tools_end(make_row):
    """The provider names nothing, but a tool ended after the second push: the model has read it."""
    pending, [first, second] = running(make_row, 2)
    pending.tool_ended()
    third = push(make_row)
    pending.pushed(third, 1)
    assert pending.ended(2, None) == [first, second]
    assert pending.is_in_doubt


def test_ledger_guess_after_interrupt_settles_the_first_alone(make_row):
    """The tool ended because the turn was interrupted: the model read nothing with its result."""
    pending, [first, second] = running(make_row, 2)
    pending.interrupted()
    pending.tool_ended()
    assert pending.ended(1, None) == [first]
    assert pending.close() == [second]


def test_ledger_turn_answers_what_the_provider_took_in(make_row):
    """A tool that sends during the turn answers these pushes, whatever waits beside them."""
    pending, [first, second, _third] = running(make_row, 3)
    pending.took_in([first.id, second.id])
    assert pending.answering == [first, second]


def test_ledger_turn_without_push_answers_nobody(make_row):
    """The provider began the turn by itself; a push that comes meanwhile is not its own."""
    pending = PendingPrompts()
    pending.heard(0, begins_turn=True)
    pending.pushed(push(make_row), 1)
    assert pending.answering == []


def test_ledger_failed_turn_is_about_all_pushes_it_names(make_row):
    """Both are tried again as one prompt, with the failures of the one that failed most."""
    pending = PendingPrompts()
    first, second = push(make_row, failures=2), push(make_row, left_out=(make_row(),))
    pending.pushed(first, 0)
    pending.pushed(second, 0)
    failed = pending.failed([first.id, second.id])
    assert failed.rows == (*first.rows, *second.rows)
    assert (failed.left_out, failed.failures) == (second.left_out, 2)


def test_ledger_failed_turn_of_unknown_pushes_fails_the_oldest(make_row):
    """The provider died and says nothing: the other push is told again, and loses nothing by it."""
    pending, [first, _second] = running(make_row, 2)
    pending.tool_ended()
    assert pending.failed(None) is first


def test_ledger_failed_raw_command_is_not_merged(make_row):
    """A slash command works only alone, so what joined its turn is told again after it."""
    pending = PendingPrompts()
    raw, second = push(make_row, is_raw=True), push(make_row)
    pending.pushed(raw, 0)
    pending.pushed(second, 0)
    assert pending.failed([raw.id, second.id]) is raw


def test_a_result_settles_the_push_its_turn_began_with(make_row):
    pending, first = PendingPrompts(), push(make_row)
    pending.pushed(first, 0)
    assert [first] == pending.ended(1, None)
    assert pending.is_settled


def test_warning_06_a_push_into_a_running_turn_is_not_settled_by_its_result(make_row):
    pending, first, second = PendingPrompts(), push(make_row), push(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    assert [first] == pending.ended(2, None)
    assert [second] == pending.answering


def test_a_push_that_gets_its_own_turn_is_settled_by_its_own_result(make_row):
    pending, first, second = PendingPrompts(), push(make_row), push(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    pending.ended(2, None)
    pending.heard(2.1, begins_turn=True)
    assert [second] == pending.ended(3, None)


def test_a_turn_that_nothing_announced_settles_the_push_in_doubt(make_row):
    pending, first, second = PendingPrompts(), push(make_row), push(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    pending.ended(2, None)
    pending.heard(2.1, begins_turn=False)
    assert [second] == pending.ended(3, None)


def test_a_push_that_joined_the_turn_is_settled_by_silence(make_row):
    pending, first, second = PendingPrompts(), push(make_row), push(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 1)
    pending.ended(2, None)
    assert pending.settle_by_silence(2 + SILENCE_S - 0.1) == []
    assert [second] == pending.settle_by_silence(2 + SILENCE_S)
    assert pending.is_settled


def test_a_sign_of_life_makes_the_silence_long(make_row):
    pending = PendingPrompts()
    pending.pushed(push(make_row), 0)
    pending.pushed(push(make_row), 1)
    pending.ended(2, None)
    pending.heard(3, begins_turn=False)
    assert pending.silence_ends_at() == 3 + LONG_SILENCE_S


def test_silence_never_settles_a_turn_that_is_known_to_run(make_row):
    pending = PendingPrompts()
    pending.pushed(push(make_row), 0)
    assert pending.silence_ends_at() is None
    assert pending.settle_by_silence(1_000_000) == []


def test_each_result_settles_one_push_and_never_a_younger_first(make_row):
    pending = PendingPrompts()
    pushes = [push(make_row) for _ in range(3)]
    for one in pushes:
        pending.pushed(one, 0)
    assert pushes == [*pending.ended(1, None), *pending.ended(2, None), *pending.ended(3, None)]
    assert pending.ended(4, None) == []


def test_a_turn_of_the_providers_own_accord_settles_nothing_pushed_meanwhile(make_row):
    pending, mine = PendingPrompts(), push(make_row)
    pending.heard(0, begins_turn=True)
    pending.pushed(mine, 1)
    assert pending.ended(2, None) == []
    assert [mine] == pending.answering


def test_closing_returns_what_was_never_settled(make_row):
    pending, first, second = PendingPrompts(), push(make_row), push(make_row)
    pending.pushed(first, 0)
    pending.pushed(second, 0)
    assert [first, second] == pending.close()
    assert pending.is_settled
    assert not pending.is_running
