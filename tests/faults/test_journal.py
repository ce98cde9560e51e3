"""The count of a kill series: it must find every kind of fault."""

from collections.abc import Sequence

from attrs import evolve
from journal import DeliveredMessage, WrittenMessage, tally

HERE = WrittenMessage(number=1, room="hall", thread="x", text="m-1", agents=("ann",))
THERE = WrittenMessage(number=2, room="yard", thread=None, text="m-2", agents=("ann",))
LATER = WrittenMessage(number=3, room="hall", thread="y", text="m-3", agents=("ann",))
BOTH = WrittenMessage(number=4, room="pair", thread=None, text="m-4", agents=("ann", "bob"))
WRITTEN = {message.number: message for message in (HERE, THERE, LATER)}


def answer(message: WrittenMessage, number: int) -> DeliveredMessage:
    return DeliveredMessage(
        key=f"dlv-ses-a-{number}",
        room=message.room,
        thread=message.thread,
        agent="ann",
        text=f"‹message›{message.text}‹/message›",
        in_reply_to=message.id,
        is_failure=False,
        edit_of=None,
        reaction_to=None,
        files={},
    )


RIGHT = [answer(HERE, 3), answer(THERE, 5), answer(LATER, 7)]


def faults(*delivered: DeliveredMessage) -> dict[str, int]:
    counted = tally(WRITTEN, set(), delivered, {}, keeps_token_order=True).faults
    return {kind: len(concerned) for kind, concerned in counted.items() if concerned}


def test_tally_of_right_answers_finds_no_fault() -> None:
    """Each message is answered in its place.

    A repeated delivery under the same key is no fault.
    """
    assert faults(*RIGHT, RIGHT[0]) == {}
    assert tally(WRITTEN, {"p-1"}, [*RIGHT, RIGHT[0]], {}).same_key == 1


def test_tally_of_wrong_answers_names_each_fault() -> None:
    """A wrong answer counts as a fault of its own kind only."""
    here, there, later = RIGHT
    assert faults(here, there) == {"lost": 1}
    assert faults(*RIGHT, evolve(later, key="dlv-ses-b-9")) == {"other key": 1}
    assert faults(here, there, evolve(later, agent="bob")) == {"lost": 1, "wrong agent": 1}
    assert faults(here, there, evolve(later, room="yard")) == {"wrong room": 1}
    assert faults(here, there, evolve(later, thread="x")) == {"wrong thread": 1}
    assert faults(here, there, evolve(later, in_reply_to="p-1")) == {"wrong in_reply_to": 1}
    assert faults(*RIGHT, evolve(here, text="‹message›m-1 again‹/message›")) == {"key reused": 1}
    assert faults(later, there, here) == {"order": 2}  # by its key and by its message


def test_tally_of_failure_text_counts_message_as_told() -> None:
    """A failure text with the reference of a message counts as told, not as an answer."""
    failure = evolve(RIGHT[2], text="Something went wrong (msg-abc).", is_failure=True)
    figures = tally(WRITTEN, set(), [*RIGHT[:2], failure], {"msg-abc": 3})
    assert (figures.told, figures.answered, figures.faults["lost"]) == (["m-3"], 2, [])


def test_tally_of_message_to_two_agents_counts_each() -> None:
    """Both agents must answer.

    The answer or the failure text of one does not count for the other.
    """
    by_ann = answer(BOTH, 9)
    by_bob = evolve(by_ann, key="dlv-ses-b-3", agent="bob")
    failure = evolve(by_bob, text="Something went wrong (msg-abc).", is_failure=True)

    def figures(*delivered: DeliveredMessage) -> tuple[int, Sequence[str], dict[str, Sequence[str]]]:
        counted = tally({BOTH.number: BOTH}, set(), delivered, {"msg-abc": BOTH.number})
        return counted.answered, counted.told, {kind: keys for kind, keys in counted.faults.items() if keys}

    assert figures(by_ann, by_bob) == (1, [], {})
    assert figures(by_ann) == (0, [], {"lost": ["m-4 by bob"]})
    assert figures(by_ann, failure) == (0, ["m-4 by bob"], {})
    assert figures(failure) == (0, ["m-4 by bob"], {"lost": ["m-4 by ann"]})
    assert figures(evolve(failure, agent=None)) == (0, ["m-4 by ann", "m-4 by bob"], {})
