from nanoclaw_runner.ledger import LONG_SILENCE_S, SILENCE_S, Ledger, Push


def push(make_row):
    return Push(rows=(make_row(),))


def test_a_result_settles_the_push_its_turn_began_with(make_row):
    ledger, first = Ledger(), push(make_row)
    ledger.pushed(first, 0)
    assert first is ledger.ended(1)
    assert ledger.is_settled


def test_warning_06_a_push_into_a_running_turn_is_not_settled_by_its_result(make_row):
    ledger, first, second = Ledger(), push(make_row), push(make_row)
    ledger.pushed(first, 0)
    ledger.pushed(second, 1)
    assert first is ledger.ended(2)
    assert second is ledger.current


def test_a_push_that_gets_its_own_turn_is_settled_by_its_own_result(make_row):
    ledger, first, second = Ledger(), push(make_row), push(make_row)
    ledger.pushed(first, 0)
    ledger.pushed(second, 1)
    ledger.ended(2)
    ledger.heard(2.1, begins_turn=True)
    assert second is ledger.ended(3)


def test_a_turn_that_nothing_announced_settles_the_push_in_doubt(make_row):
    ledger, first, second = Ledger(), push(make_row), push(make_row)
    ledger.pushed(first, 0)
    ledger.pushed(second, 1)
    ledger.ended(2)
    ledger.heard(2.1, begins_turn=False)
    assert second is ledger.ended(3)


def test_a_push_that_joined_the_turn_is_settled_by_silence(make_row):
    ledger, first, second = Ledger(), push(make_row), push(make_row)
    ledger.pushed(first, 0)
    ledger.pushed(second, 1)
    ledger.ended(2)
    assert ledger.settle_by_silence(2 + SILENCE_S - 0.1) == []
    assert [second] == ledger.settle_by_silence(2 + SILENCE_S)
    assert ledger.is_settled


def test_a_sign_of_life_makes_the_silence_long(make_row):
    ledger = Ledger()
    ledger.pushed(push(make_row), 0)
    ledger.pushed(push(make_row), 1)
    ledger.ended(2)
    ledger.heard(3, begins_turn=False)
    assert ledger.silence_ends_at() == 3 + LONG_SILENCE_S


def test_silence_never_settles_a_turn_that_is_known_to_run(make_row):
    ledger = Ledger()
    ledger.pushed(push(make_row), 0)
    assert ledger.silence_ends_at() is None
    assert ledger.settle_by_silence(1_000_000) == []


def test_each_result_settles_one_push_and_never_a_younger_first(make_row):
    ledger = Ledger()
    pushes = [push(make_row) for _ in range(3)]
    for one in pushes:
        ledger.pushed(one, 0)
    assert pushes == [ledger.ended(1), ledger.ended(2), ledger.ended(3)]
    assert ledger.ended(4) is None


def test_a_turn_of_the_providers_own_accord_settles_nothing_pushed_meanwhile(make_row):
    ledger, mine = Ledger(), push(make_row)
    ledger.heard(0, begins_turn=True)
    ledger.pushed(mine, 1)
    assert ledger.ended(2) is None
    assert mine is ledger.current


def test_closing_returns_what_was_never_settled(make_row):
    ledger, first, second = Ledger(), push(make_row), push(make_row)
    ledger.pushed(first, 0)
    ledger.pushed(second, 0)
    assert [first, second] == ledger.close()
    assert ledger.is_settled
    assert not ledger.is_running
