"""When an answer is complete."""

from __future__ import annotations

from nanoclaw_channel_terminal.answer_tracker import ALIVE_S, LATE_S, SILENCE_S, TRYING_S, AnswerTracker

ACCEPTED = {"type": "accepted", "id": "t1", "outcome": "routed", "reason": None}
MESSAGE = {"type": "message", "id": "k1", "text": "hello"}
TYPING = {"type": "typing"}


def status(text: str) -> dict[str, str]:
    return {"type": "status", "text": text}


def turn(*frames: dict[str, object]) -> AnswerTracker:
    """Return a turn that took frames at 1, 2, 3, … seconds."""
    made = AnswerTracker("t1")
    for at, frame in enumerate(frames, start=1):
        made.take(frame, float(at))
    return made


def test_nothing_ends_before_the_message_was_taken():
    assert turn(MESSAGE, status("")).ends_at() is None


def test_nothing_ends_while_no_answer_came_and_the_host_says_nothing():
    assert turn(ACCEPTED, TYPING).ends_at() is None


def test_the_hosts_word_that_nothing_is_under_way_ends_it_at_once():
    assert turn(ACCEPTED, status("the agent works"), MESSAGE, status("")).ends_at() == 4.0


def test_the_end_without_an_answer_waits_for_a_late_one():
    assert turn(ACCEPTED, status("the agent works"), status("")).ends_at() == 3.0 + LATE_S


def test_several_answers_are_waited_for_while_the_host_says_that_it_works():
    assert turn(ACCEPTED, status("the agent works"), MESSAGE, MESSAGE).ends_at() == 4.0 + ALIVE_S


def test_a_host_that_says_nothing_is_done_after_a_short_silence():
    assert turn(ACCEPTED, MESSAGE).ends_at() == 2.0 + SILENCE_S


def test_what_was_kept_from_before_is_no_answer():
    assert turn(ACCEPTED, MESSAGE | {"is_kept": True}).ends_at() is None


def test_a_failure_that_an_answer_follows_is_none():
    failed = (ACCEPTED, MESSAGE | {"text": "I keep trying", "is_failure": True})
    assert turn(*failed).failure == "I keep trying"
    assert turn(*failed, MESSAGE).failure is None


def test_after_a_failure_another_try_is_waited_for_although_nothing_is_under_way():
    at_rest = (ACCEPTED, status(""), MESSAGE | {"is_failure": True})
    assert turn(*at_rest).ends_at() == 3.0 + LATE_S
    assert turn(*at_rest, MESSAGE).ends_at() == 4.0


def test_a_failure_is_not_the_end_while_the_host_says_that_it_works():
    assert turn(ACCEPTED, TYPING, MESSAGE | {"is_failure": True}).ends_at() == 3.0 + TRYING_S


def test_a_refusal_ends_it_with_the_reason():
    refused = turn({"type": "accepted", "id": "t1", "outcome": "dropped", "reason": "nobody is wired"})
    assert (refused.refusal, refused.ends_at()) == ("nobody is wired", 1.0)


def test_the_acceptance_of_another_message_is_not_ours():
    assert turn(ACCEPTED | {"id": "t2"}, MESSAGE).ends_at() is None
