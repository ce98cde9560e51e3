"""I2: the two number spaces never meet."""

from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.sequence import next_even, next_odd

HIGHEST = st.none() | st.integers(min_value=0, max_value=2**53)


@given(HIGHEST)
def test_invariant_02_the_hosts_numbers_are_even_and_grow(highest: int | None) -> None:
    following = next_even(highest)
    assert following % 2 == 0
    assert following > (highest or 0)
    assert following - (highest or 0) <= 2


@given(HIGHEST)
def test_invariant_02_the_runners_numbers_are_odd_and_grow(highest: int | None) -> None:
    following = next_odd(highest)
    assert following % 2 == 1
    assert following > (highest or 0)
    assert following - (highest or 0) <= 2


def test_invariant_02_the_first_numbers_are_two_and_one() -> None:
    assert (next_even(None), next_odd(None)) == (2, 1)
