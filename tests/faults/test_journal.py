"""The count of a kill series itself: it must find every kind of fault."""

from attrs import evolve
from journal import DeliveredMessage, WrittenMessage, tally

HERE = WrittenMessage(number=1, room="hall", thread="x", text="m-1")
THERE = WrittenMessage(number=2, room="yard", thread=None, text="m-2")
LATER = WrittenMessage(number=3, room="hall", thread="y", text="m-3")
WRITTEN = {message.number: message for message in (HERE, THERE, LATER)}


def answer(message: WrittenMessage, number: int) -> DeliveredMessage:
    return DeliveredMessage(
        key=f"dlv-ses-a-{number}",
        room=message.room,
        thread=message.thread,
        text=f"‹message›{message.text}‹/message›",
        in_reply_to=message.id,
        is_failure=False,
        edit_of=None,
        reaction_to=None,
        files={},
    )


RIGHT = [answer(HERE, 3), answer(THERE, 5), answer(LATER, 7)]


def faults(*delivered: DeliveredMessage) -> dict[str, int]:
    found = tally(WRITTEN, set(), delivered, {}, keeps_token_order=True).faults
    return {kind: len(concerned) for kind, concerned in found.items() if concerned}


def test_tally_of_right_answers_finds_no_fault() -> None:
    """Each message is answered in its place; a delivery that came again under its key is no fault."""
    assert faults(*RIGHT, RIGHT[0]) == {}
    assert tally(WRITTEN, {"p-1"}, [*RIGHT, RIGHT[0]], {}).same_key == 1


def test_tally_of_wrong_answers_names_each_fault() -> None:
    """One answer of each wrong kind is counted as that kind, and as no other."""
    here, there, later = RIGHT
    assert faults(here, there) == {"lost": 1}
    assert faults(*RIGHT, evolve(later, key="dlv-ses-b-9")) == {"other key": 1}
    assert faults(here, there, evolve(later, room="yard")) == {"wrong room": 1}
    assert faults(here, there, evolve(later, thread="x")) == {"wrong thread": 1}
    assert faults(here, there, evolve(later, in_reply_to="p-1")) == {"wrong in_reply_to": 1}
    assert faults(*RIGHT, evolve(here, text="‹message›m-1 again‹/message›")) == {"key reused": 1}
    assert faults(later, there, here) == {"order": 2}  # by its key and by its message


def test_tally_of_failure_text_counts_message_as_told() -> None:
    """A failure text with the reference of a message tells people; it is no answer."""
    failure = evolve(RIGHT[2], text="Something went wrong (msg-abc).", is_failure=True)
    figures = tally(WRITTEN, set(), [*RIGHT[:2], failure], {"msg-abc": 3})
    assert (figures.told, figures.answered, figures.faults["lost"]) == (["m-3"], 2, [])
