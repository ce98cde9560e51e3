"""`ncl chat WORDS`: sends one message, waits for the answer and prints it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from nanoclaw_client.output import print_error, print_json, print_text
from nanoclaw_wire.answer_frames import data_frame, error_frame

from nanoclaw_channel_terminal.answer_tracker import AnswerTracker
from nanoclaw_channel_terminal.connection import Connection
from nanoclaw_channel_terminal.display import StatusLine, message_text, save_files
from nanoclaw_channel_terminal.frames import TransferredFile
from nanoclaw_channel_terminal.received import ReceivedFiles

ANSWERED, REFUSED, TIMED_OUT = 0, 1, 3
SHOWN = ("id", "text", "card", "reaction", "is_failure")


@frozen(kw_only=True)
class Question:
    """A message and the options for its answer.

    Args:
        text: The text to send.
        files: The files to attach.
        timeout_s: Maximum time for the answer.
        received: The place for files of the answer.
        as_json: True prints the answer as one JSON frame.
    """

    text: str
    files: Sequence[TransferredFile]
    timeout_s: float
    received: ReceivedFiles
    as_json: bool


@frozen
class OneShotChat:
    """Sends one question and prints its answer. `_answer` holds the messages so far."""

    _connection: Connection
    _question: Question
    _status: StatusLine
    _answer: list[dict[str, Any]] = field(factory=list)

    async def run(self) -> int:
        """Send the question, print the answer and return the exit code.

        Raises:
            HungUp: The host closed the connection before the answer was complete.
        """
        await self._show_stored_messages()
        loop = asyncio.get_running_loop()
        tracker = AnswerTracker(await self._connection.say(self._question.text, self._question.files))
        deadline = loop.time() + self._question.timeout_s
        while True:
            self._status.show(tracker.status or ("" if tracker.answers else "waiting for the host"))
            complete_at = tracker.complete_at()
            try:
                async with asyncio.timeout_at(min(deadline, deadline if complete_at is None else complete_at)):
                    frame = await self._connection.next()
            except TimeoutError:
                return self._end(tracker, timed_out=complete_at is None or complete_at > deadline)
            tracker.record(frame, loop.time())
            if frame["type"] == "message":
                await self._show(frame)

    async def _show_stored_messages(self) -> None:
        while (frame := await self._connection.next())["type"] != "ready":
            if frame["type"] == "message":
                with self._status.hidden():
                    print(f"(while you were away) {message_text(frame)}", file=sys.stderr)
                    self._save(frame)
                await self._connection.seen(frame["id"])

    async def _show(self, frame: Mapping[str, Any]) -> None:
        with self._status.hidden():
            text = message_text(frame)
            if text and not self._question.as_json:
                print(text, file=sys.stderr if frame.get("is_failure") else sys.stdout, flush=True)
            saved = self._save(frame)
        self._answer.append({key: frame[key] for key in SHOWN if key in frame} | saved)
        await self._connection.seen(frame["id"])

    def _save(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        lines = save_files(frame, self._question.received)
        for line in lines:
            print_text(line, to_stderr=True)
        return {"files": lines} if lines else {}

    def _end(self, tracker: AnswerTracker, *, timed_out: bool) -> int:
        self._status.show("")
        if tracker.refusal is not None:
            return self._fail("forbidden", f"the message was not accepted: {tracker.refusal}", REFUSED)
        if timed_out:
            activity = f" (last status: {tracker.status})" if tracker.status else ""
            message = (
                f"no {'complete ' if tracker.answers else ''}answer within {self._question.timeout_s:g} s{activity}."
                " The next `ncl chat` shows a later answer. --timeout waits longer; `ncl logs` shows more."
            )
            return self._fail("transport-error", message, TIMED_OUT)
        if tracker.failure is not None and tracker.is_under_way:
            print("(the host is still trying; the next `ncl chat` shows an answer)", file=sys.stderr)
        if self._question.as_json:
            self._print_frame(tracker)
        elif not tracker.answers:
            print("(the agent did not reply)", file=sys.stderr)
        return ANSWERED if tracker.failure is None else REFUSED

    def _print_frame(self, tracker: AnswerTracker) -> None:
        frame = data_frame({"messages": self._answer})
        if tracker.failure is not None:
            frame |= error_frame("handler-error", tracker.failure)
        print_json(frame)

    def _fail(self, code: str, message: str, exit_code: int) -> int:
        print_error(code, message, as_json=self._question.as_json)
        return exit_code
