"""`ncl chat` without words: an interactive conversation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoclaw_client.output import print_text
from nanoclaw_client.terminal_text import terminal_safe
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory
from prompt_toolkit.patch_stdout import patch_stdout

from nanoclaw_channel_terminal.attachments import extract_files
from nanoclaw_channel_terminal.connection import Connection, HungUp
from nanoclaw_channel_terminal.display import message_text, save_files
from nanoclaw_channel_terminal.received import ReceivedFiles
from nanoclaw_core import InvalidArguments

STOP = "/stop"
HELP = "/help"
HELP_TEXT = """\
Write to the agent in plain words.
  @PATH    attaches a file; @@ is a plain @
  /stop    interrupts the agent, as ctrl-c does
  /clear   starts a new conversation without the earlier messages
  ctrl-d   leaves; the agent keeps working, and you see its answer when you come back"""


class Repl:
    """An interactive conversation, until ctrl-d or the end of the connection."""

    def __init__(self, connection: Connection, history: Path, received: ReceivedFiles) -> None:
        history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection, self._received = connection, received
        self._status = ""
        self._is_ready = False  # False while stored messages arrive
        self._session: PromptSession[str] = PromptSession(message=self._prompt, history=FileHistory(str(history)))

    async def run(self) -> int:
        """Run the conversation and return the exit code."""
        print("ctrl-d leaves, ctrl-c interrupts the agent, @path attaches a file, /help shows more")
        with patch_stdout():
            showing = asyncio.create_task(self._show_frames())
            try:
                await self._read_input()
            except HungUp:
                pass  # `_show_frames` reports it
            finally:
                showing.cancel()
                with contextlib.suppress(asyncio.CancelledError, HungUp):
                    await showing
        return 2 if showing.done() and not showing.cancelled() and showing.exception() else 0

    async def _read_input(self) -> None:
        while True:
            try:
                line = await self._session.prompt_async()
            except KeyboardInterrupt:
                await self._interrupt()
            except EOFError:
                return
            else:
                await self._send(line)

    async def _send(self, line: str) -> None:
        if not line.strip():
            return
        if line.strip() == HELP:
            print(HELP_TEXT)
            return
        try:
            text, files = extract_files(line, Path.cwd())
        except InvalidArguments as error:
            print_text(f"not sent: {error}")
            return
        await self._connection.say(text, files)

    async def _interrupt(self) -> None:
        if self._session.default_buffer.text:
            return  # ctrl-c discards the typed line, as in a shell
        if self._status:
            print("(asked the agent to stop)")
            await self._connection.say(STOP)
        else:
            print("(the agent is idle; ctrl-d leaves)")

    async def _show_frames(self) -> None:
        try:
            while True:
                await self._show(await self._connection.next())
        except HungUp:
            print("the host closed the connection; run `ncl chat` to reconnect")
            if self._session.app.is_running:
                self._session.app.exit(exception=EOFError())
            raise

    async def _show(self, frame: Mapping[str, Any]) -> None:
        kind = frame["type"]
        if kind == "message":
            text = message_text(frame)
            if text:
                print(text if self._is_ready else f"(while you were away) {text}")
            for line in save_files(frame, self._received):
                print_text(line)
            await self._connection.seen(frame["id"])
        elif kind == "said":
            files = "".join(f" [{name}]" for name in frame.get("files") or ())
            print_text(f"(another terminal) {frame.get('text', '')}{files}")
        elif kind == "accepted" and frame.get("outcome") != "routed":
            print_text(f"not accepted: {frame.get('reason') or frame.get('outcome')}")
        elif kind in ("status", "ready"):
            self._is_ready = self._is_ready or kind == "ready"
            self._set_status(str(frame.get("text") or frame.get("status") or ""))
        elif kind == "typing":
            self._set_status(self._status or "the agent is working")
        elif kind == "error":
            print_text(f"error: {frame.get('message')}")

    def _set_status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._session.app.invalidate()

    def _prompt(self) -> str:
        return f"… {terminal_safe(self._status)}\n> " if self._status else "> "
