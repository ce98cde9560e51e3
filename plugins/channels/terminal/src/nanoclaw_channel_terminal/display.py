"""Text for people: messages, saved files, and the status line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from nanoclaw_client.terminal_text import terminal_safe

from nanoclaw_channel_terminal import frames
from nanoclaw_channel_terminal.received import ReceivedFiles

_CLEAR_LINE = "\r\x1b[K"


def message_text(frame: Mapping[str, Any]) -> str:
    """Return a message as text, with numbered choices of its card.

    Empty if it has only files.
    """
    parts: list[str] = []
    if "reaction" in frame:
        parts.append(f"(reacted with {frame['reaction']})")
    text = str(frame.get("text") or "").rstrip("\n")
    if text:
        parts.append(f"(edited a message) {text}" if frame.get("is_edit") else text)
    card = frame.get("card")
    if isinstance(card, dict):
        parts.append(_card_text(card))
    return terminal_safe("\n".join(parts).replace("\r\n", "\n"))


def save_files(frame: Mapping[str, Any], received: ReceivedFiles) -> list[str]:
    """Save the files of a message.

    Return a line for each file, with its absolute path or the error.
    """
    lines, session = [], frame.get("session")
    for item in frame.get("files") or ():
        file = frames.parse_file(item)
        try:
            lines.append(f"saved {received.save(file, session)} ({len(file.content)} bytes)")
        except OSError as error:
            directory = received.directory(session)
            lines.append(f"could not save {file.name} in {directory}: {error.strerror or error}")
    return lines


class StatusLine:
    """A line that shows the current activity.

    It stays empty if the stream is no terminal.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the text of the line. An empty text clears the line."""
        if self._is_terminal and text != self._shown:
            self._stream.write(_CLEAR_LINE + (f"… {terminal_safe(text)}" if text else ""))
            self._stream.flush()
            self._shown = text

    def print(self, text: str) -> None:
        """Print a separate line on the stream."""
        with self.hidden():
            print(terminal_safe(text), file=self._stream, flush=True)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the line during the block, so that other output can be printed."""
        shown = self._shown
        self.show("")
        yield
        sys.stdout.flush()
        self.show(shown)


def _card_text(card: Mapping[str, Any]) -> str:
    lines = [str(card.get("title") or ""), str(card.get("text") or "")]
    choices = [str(choice) for choice in card.get("choices") or ()]
    lines += [f"  {number}) {choice}" for number, choice in enumerate(choices, start=1)]
    if choices:
        lines.append("Answer with a number.")
    return "\n".join(line for line in lines if line)
