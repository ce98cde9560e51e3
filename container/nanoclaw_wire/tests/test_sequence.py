"""The numbers of the host and of the runner never collide (I2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.inbound import next_even
from nanoclaw_wire.outbound import next_odd

HIGHEST = st.none() | st.integers(min_value=0, max_value=2**53)


@given(HIGHEST)
@pytest.mark.invariant(number=2)
def test_next_even_is_even_and_higher(highest: int | None) -> None:
    following = next_even(highest)
    assert following % 2 == 0
    assert following > (highest or 0)
    assert following - (highest or 0) <= 2


@given(HIGHEST)
@pytest.mark.invariant(number=2)
def test_next_odd_is_odd_and_higher(highest: int | None) -> None:
    following = next_odd(highest)
    assert following % 2 == 1
    assert following > (highest or 0)
    assert following - (highest or 0) <= 2


@pytest.mark.invariant(number=2)
def test_first_numbers_are_two_and_one() -> None:
    assert (next_even(None), next_odd(None)) == (2, 1)
