"""Completeness of an answer."""

from __future__ import annotations

from nanoclaw_channel_terminal.answer_tracker import LATE_ANSWER_S, RETRYING_S, SILENCE_S, WORKING_S, AnswerTracker

ACCEPTED = {"type": "accepted", "id": "t1", "outcome": "routed", "reason": None}
MESSAGE = {"type": "message", "id": "k1", "text": "hello"}
TYPING = {"type": "typing"}


def status(text: str) -> dict[str, str]:
    return {"type": "status", "text": text}


def tracker(*frames: dict[str, object]) -> AnswerTracker:
    """Return a tracker that recorded frames at 1, 2, 3, … seconds."""
    result = AnswerTracker("t1")
    for at, frame in enumerate(frames, start=1):
        result.record(frame, float(at))
    return result


def test_answer_is_incomplete_before_acceptance():
    assert tracker(MESSAGE, status("")).complete_at() is None


def test_answer_is_incomplete_without_an_answer():
    assert tracker(ACCEPTED, TYPING).complete_at() is None


def test_answer_is_complete_when_the_host_is_idle():
    assert tracker(ACCEPTED, status("the agent works"), MESSAGE, status("")).complete_at() == 4.0


def test_answer_may_follow_the_idle_report():
    assert tracker(ACCEPTED, status("the agent works"), status("")).complete_at() == 3.0 + LATE_ANSWER_S


def test_answer_may_have_several_messages():
    assert tracker(ACCEPTED, status("the agent works"), MESSAGE, MESSAGE).complete_at() == 4.0 + WORKING_S


def test_answer_is_complete_after_silence():
    assert tracker(ACCEPTED, MESSAGE).complete_at() == 2.0 + SILENCE_S


def test_answer_excludes_stored_messages():
    assert tracker(ACCEPTED, MESSAGE | {"is_kept": True}).complete_at() is None


def test_failure_is_cleared_by_a_later_answer():
    failure = (ACCEPTED, MESSAGE | {"text": "I keep trying", "is_failure": True})
    assert tracker(*failure).failure == "I keep trying"
    assert tracker(*failure, MESSAGE).failure is None


def test_failure_of_an_idle_host_waits_for_a_late_answer():
    idle = (ACCEPTED, status(""), MESSAGE | {"is_failure": True})
    assert tracker(*idle).complete_at() == 3.0 + LATE_ANSWER_S
    assert tracker(*idle, MESSAGE).complete_at() == 4.0


def test_failure_of_a_working_host_waits_for_a_retry():
    assert tracker(ACCEPTED, TYPING, MESSAGE | {"is_failure": True}).complete_at() == 3.0 + RETRYING_S


def test_refusal_completes_the_answer_with_a_reason():
    refused = tracker({"type": "accepted", "id": "t1", "outcome": "dropped", "reason": "no agent is wired"})
    assert (refused.refusal, refused.complete_at()) == ("no agent is wired", 1.0)


def test_acceptance_of_another_message_is_ignored():
    assert tracker(ACCEPTED | {"id": "t2"}, MESSAGE).complete_at() is None
