"""When is an answer complete? A pure reading of the frames that follow what was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SILENCE_S = 1.0  # after an answer, where the host never says what it does
LATE_S = 1.0  # an answer or another try may still be on its way when the host says that nothing is under way any more
ALIVE_S = 20.0  # a host at work shows it every 4 s, but not for 10 s after a message; beyond that it stopped saying so
TRYING_S = 60.0  # after words about trouble that is still being got over; most is over by then


class AnswerTracker:
    """What was said, and what came of it so far.

    `status` is what is being waited for, in words for people; `refusal` says why the message was turned down; `failure`
    is what was said last where that was no answer but the reason why there is none.
    """

    def __init__(self, say_id: str) -> None:
        self.status = ""
        self.refusal: str | None = None
        self.failure: str | None = None
        self.answers = 0
        self._say_id = say_id
        self._is_accepted = False
        self._is_under_way: bool | None = None
        self._last_at = 0.0

    @property
    def is_under_way(self) -> bool:
        """True while the host says that something is being done about it."""
        return bool(self._is_under_way)

    def take(self, frame: Mapping[str, Any], at: float) -> None:
        """Note a frame that came at a time, in seconds on any clock."""
        kind = frame["type"]
        if kind == "accepted" and frame.get("id") == self._say_id:
            self._is_accepted = True
            if frame.get("outcome") != "routed":
                self.refusal = str(frame.get("reason") or f"it was {frame.get('outcome')}")
        elif not self._is_accepted:
            return  # it belongs to what was going on before
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

    def ends_at(self) -> float | None:
        """Return when it is over if nothing else comes, on the same clock; None while an answer must still come."""
        if self.refusal is not None:
            return self._last_at
        if not self._is_accepted:
            return None
        if self._is_under_way is False:
            is_answered = self.answers > 0 and self.failure is None
            return self._last_at if is_answered else self._last_at + LATE_S
        if not self.answers:
            return None
        if not self._is_under_way:
            return self._last_at + SILENCE_S
        return self._last_at + (ALIVE_S if self.failure is None else TRYING_S)
