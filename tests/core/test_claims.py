"""Claims on slots: the shares of people, rooms and agent groups, and the slot of the owners (audit S6)."""

from __future__ import annotations

from collections import Counter

import pytest

from nanoclaw_core.ids import GroupId, UserId
from nanoclaw_core.sandboxes.claims import Claim, WaitReason, reason_to_wait

pytestmark = pytest.mark.invariant(number=14)


def claim(number: int = 0, *, person: str = "", room: str = "", group: str = "", is_owner: bool = False) -> Claim:
    """Return a claim whose unnamed causes are its own."""
    own = (person or f"person {number}", ("chat", room or f"room {number}"), group or f"group {number}")
    person, group_id = UserId(own[0]), GroupId(own[2])
    return Claim(person=person, room=own[1], group_id=group_id, is_owner=is_owner, has_others=not is_owner)


def reason(new: Claim, *working: Claim, count: int) -> WaitReason | None:
    return reason_to_wait(new, Counter(key for taken in working for key in taken.keys), count)


@pytest.mark.parametrize(("count", "share"), [(2, 2), (3, 2), (8, 2), (12, 3), (20, 5)])
def test_person_holds_at_most_a_quarter_but_two(count: int, share: int) -> None:
    eve = [claim(number, person="eve") for number in range(share + 1)]
    assert reason(eve[-1], *eve[: share - 1], count=count) is None
    assert reason(eve[-1], *eve[:share], count=count) is WaitReason.PERSON


@pytest.mark.parametrize(("count", "most"), [(1, 1), (3, 3), (4, 3), (20, 19)])
def test_last_slot_of_four_is_only_for_owners(count: int, most: int) -> None:
    others = [claim(number) for number in range(most)]
    assert reason(claim(most), *others[:-1], count=count) is None
    assert reason(claim(most), *others, count=count) is WaitReason.ALL
    owner = reason(claim(most, is_owner=True), *others, count=count)
    assert owner is (None if count >= 4 else WaitReason.ALL)


@pytest.mark.parametrize("expected", [WaitReason.ROOM, WaitReason.GROUP])
@pytest.mark.parametrize(("count", "most"), [(4, 2), (8, 5), (20, 14)])
def test_room_or_group_leaves_a_share_to_others(expected: WaitReason, count: int, most: int) -> None:
    """It may exceed its share only while more than a share is left."""
    room, group = ("busy", "") if expected is WaitReason.ROOM else ("", "busy")
    same = [claim(number, room=room, group=group) for number in range(most + 1)]
    assert reason(same[-1], *same[: most - 1], count=count) is None
    assert reason(same[-1], *same[:most], count=count) is expected
    assert reason(claim(most), *same[:most], count=count) is None


def test_room_within_its_share_may_use_what_is_left() -> None:
    busy = [claim(number, room="busy") for number in range(5)]
    late = [claim(number, room="late") for number in range(5, 7)]
    assert reason(late[1], *busy, late[0], count=8) is None


def test_no_share_of_a_room_or_group_stops_an_owner() -> None:
    same = [claim(number, room="busy", group="busy") for number in range(3)]
    assert reason(claim(3, room="busy", group="busy", is_owner=True), *same, count=4) is None


def test_no_share_of_a_person_stops_an_owner() -> None:
    own = [claim(number, person="operator", is_owner=True) for number in range(3)]
    assert reason(claim(3, person="operator", is_owner=True), *own, count=4) is None


def test_owner_takes_back_the_slot_that_others_joined() -> None:
    """One more conversation of owners may start, because one with others has to stop. Only one does."""
    eve, own = UserId("eve"), claim(4, is_owner=True)
    working = [claim(number) for number in range(3)] + [claim(3, is_owner=True).joined_by(eve, is_owner=False)]
    assert reason(own, *working, count=4) is None
    assert reason(own.joined_by(eve, is_owner=False), *working, count=4) is WaitReason.ALL
    assert reason(claim(5, is_owner=True), *working, own, count=4) is WaitReason.ALL


@pytest.mark.parametrize("is_first", [True, False])
def test_claim_with_an_owner_and_others_is_for_both(is_first: bool) -> None:
    """It has the rights of the owner, and counts for the others."""
    people = {"operator": True, "eve": False} if is_first else {"eve": False, "operator": True}
    (first, is_owner), (second, is_second_owner) = people.items()
    joined = claim(person=first, is_owner=is_owner).joined_by(UserId(second), is_owner=is_second_owner)
    assert (joined.person, joined.is_owner, joined.has_others) == ("eve", True, True)


def test_claims_without_a_cause_share_none() -> None:
    """Tasks of several sessions have no person, and may have no room."""
    working = [Claim() for _ in range(5)]
    assert reason(Claim(), *working, count=8) is None
