"""Decides from the frames after a message when its answer is complete. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SILENCE_S = 1.0  # after an answer, if the host never reports its activity
LATE_ANSWER_S = 1.0  # an answer or a retry may still follow the host's report that it is idle
WORKING_S = 20.0  # a working host reports every 4 s, except for 10 s after a message
RETRYING_S = 60.0  # after a failure that the host retries; most retries succeed by then


class AnswerTracker:
    """One message and the answers to it so far.

    `status` is the current activity, as text for people. `refusal` is the reason why the host rejected the message.
    `failure` is the text of the last message if it explains why there is no answer.
    """

    def __init__(self, message_id: str) -> None:
        self.status = ""
        self.refusal: str | None = None
        self.failure: str | None = None
        self.answers = 0
        self._message_id = message_id
        self._is_accepted = False
        self._is_under_way: bool | None = None
        self._last_at = 0.0

    @property
    def is_under_way(self) -> bool:
        """True while the host reports activity for the message."""
        return bool(self._is_under_way)

    def record(self, frame: Mapping[str, Any], at: float) -> None:
        """Record a frame that arrived at `at`, in seconds of any clock."""
        kind = frame["type"]
        if kind == "accepted" and frame.get("id") == self._message_id:
            self._is_accepted = True
            if frame.get("outcome") != "routed":
                self.refusal = str(frame.get("reason") or f"its outcome is {frame.get('outcome')}")
        elif not self._is_accepted:
            return  # it belongs to an earlier message
        elif kind == "message" and not frame.get("is_kept"):
            self.answers += 1
            self.failure = str(frame.get("text") or "") if frame.get("is_failure") else None
        elif kind == "status":
            self.status = str(frame.get("text") or "")
            self._is_under_way = bool(self.status)
        elif kind == "typing":
            self.status = self.status or "the agent is working"
            self._is_under_way = True
        self._last_at = at

    def complete_at(self) -> float | None:
        """Return when the answer is complete if no further frame arrives.

        None if an answer must still arrive.
        """
        if self.refusal is not None:
            return self._last_at
        if not self._is_accepted:
            return None
        if self._is_under_way is False:
            is_answered = self.answers > 0 and self.failure is None
            return self._last_at if is_answered else self._last_at + LATE_ANSWER_S
        if not self.answers:
            return None
        if not self._is_under_way:
            return self._last_at + SILENCE_S
        return self._last_at + (WORKING_S if self.failure is None else RETRYING_S)
