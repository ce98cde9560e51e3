"""What tools may do in the runner: the `ToolHost` that plugins get, and what the built-in tools need beyond it."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from nanoclaw_wire import layout
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.inbound import Destination, InboundMessage
from nanoclaw_wire.outbound import NewOutbound, OutboundMessage

from nanoclaw_runner import content
from nanoclaw_runner.destinations import Address, find, names, place_of
from nanoclaw_runner.inbox import Inbox, answer_content
from nanoclaw_runner.outbound_builder import OutboundBuilder, Target, action, chat, new_message_id
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import PendingPrompts
from nanoclaw_runner.provider import ToolError
from nanoclaw_runner.workspace import Workspace

COPY_BYTES = 1_048_576


class Messenger:
    """Sends for the model while a turn runs. Everything is durable when a call returns."""

    def __init__(
        self, *, workspace: Workspace, inbox: Inbox, outbox: Outbox, pending: PendingPrompts, outbound: OutboundBuilder
    ) -> None:
        self._workspace, self._inbox, self._outbox = workspace, inbox, outbox
        self._pending, self._outbound = pending, outbound

    async def send_message(self, text: str, to: str | None) -> int:
        """Write a message; see `ToolHost`."""
        if not text.strip():
            raise ToolError("The text is empty. Say what should be sent.")
        return self._send(self._outbound.to_place(self.resolve(to), {"text": content.sendable(text)}))

    async def send_file(self, path: str, to: str | None, text: str, name: str | None) -> int:
        """Copy a file to where the host takes it, and write the message that carries it.

        Args:
            path: Absolute, or below the agent's folder.
            name: What people see; None takes the file's own.

        Raises:
            ToolError: There is no such file or destination, or the name is no file name.
            OSError: The machine is exhausted.
        """
        source = self._workspace.agent / path
        shown = name or source.name
        if not layout.is_safe_name(shown):
            raise ToolError(f"{shown!r} is not a file name. Give one without slashes, of at most 255 bytes.")
        if not source.is_file():
            raise ToolError(f"There is no file {path!r}. Give a path below your folder, or an absolute one.")
        place, message_id = self.resolve(to), new_message_id()
        folder = self._workspace.files.outbox / message_id
        try:
            await asyncio.to_thread(_copy, source, folder / shown)
        except (OSError, ToolError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, ToolError) or is_exhausted(error):
                raise
            raise ToolError(f"The file {path!r} could not be copied: {error.strerror}.") from error
        values = {"text": content.sendable(text), "files": [shown]}
        return self._send(self._outbound.to_place(place, values, message_id))

    async def operate(self, seq: int, values: Mapping[str, Any]) -> None:
        """Write an operation on a message that was sent or received: `{operation, …}`.

        Raises:
            ToolError: There is no message with that number, or it belongs to no chat.
        """
        message = self._inbox.by_seq(seq) if seq % 2 == 0 else self._outbox.by_seq(seq)
        if message is None:
            raise ToolError(f"There is no message {seq}. Use the id of a <message>, or one that a tool returned.")
        if message.channel is None or message.room is None:
            raise ToolError(f"The message {seq} belongs to no chat.")
        self._send(chat(_where(message), {**values, "seq": seq}))

    async def request(self, action_name: str, arguments: Mapping[str, Any]) -> str:
        """Write an action row; see `ToolHost`."""
        request_id = f"req-{secrets.token_hex(8)}"
        self._inbox.expect_answer(request_id)
        row = action(action_name, request_id, dict(arguments), self._outbound.in_reply_to())
        self._outbox.send(row, highest_inbound=self._inbox.highest())
        return request_id

    async def answer(self, request_id: str, timeout_s: float) -> Mapping[str, Any]:
        """Wait for the host's answer; see `ToolHost`."""
        waiting = self._inbox.answer_to(request_id)
        if waiting is None:
            raise ToolError(f"Nothing was asked under {request_id!r}.")
        try:
            async with asyncio.timeout(timeout_s):
                row = await waiting
        except TimeoutError as error:
            raise ToolError(f"No answer came within {timeout_s:g} seconds.") from error
        finally:
            self._inbox.forget_answer(request_id)
        return answer_content(row)

    def resolve(self, to: str | None) -> Address:
        """Return the room a name means; None means where the current turn came from.

        Raises:
            ToolError: There is none; the message says which names there are.
        """
        destinations = self._inbox.destinations()
        if to is not None:
            found = find(self._known(), to)
            if found is None:
                raise ToolError(f"There is no destination {to!r}. {_choices(destinations)}")
            return place_of(found)
        home = self._outbound.home()
        if home is not None:
            return home
        if len(destinations) != 1:
            raise ToolError(f"Say where to send it. {_choices(destinations)}")
        return place_of(destinations[0])

    def name_of(self, to: str | None) -> str:
        """Return how the model knows a destination."""
        if to is not None:
            return to
        place = self.resolve(None)
        known = (one.name for one in self._known() if place_of(one) == place)
        return next(known, f"{place.channel}:{place.room}")

    def _known(self) -> Sequence[Destination]:
        """Return the names that the current turn may use; those that are in the file if no prompt was written yet."""
        return self._pending.destinations(self._pending.answering) or self._inbox.destinations()

    def _send(self, message: NewOutbound) -> int:
        number = self._outbox.send(message, highest_inbound=self._inbox.highest())
        self._pending.has_spoken = True
        return number


def _where(message: InboundMessage | OutboundMessage) -> Target:
    in_reply_to = message.id if isinstance(message, InboundMessage) else message.in_reply_to
    return Target(channel=message.channel, room=message.room, thread=message.thread, in_reply_to=in_reply_to)


def _choices(destinations: Sequence[Destination]) -> str:
    return f"Known names: {names(destinations)}." if destinations else "No destinations are configured."


def _copy(source: Path, target: Path) -> None:
    """Copy a file.

    Raises:
        ToolError: Reading fails. The model chooses the file, and some of `/proc` answer EIO as a broken disk does.
        OSError: The file cannot be opened or written.
    """
    target.parent.mkdir(parents=True)
    with source.open("rb") as readable, target.open("xb") as writable:
        while chunk := _read(readable, source):
            writable.write(chunk)


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(COPY_BYTES)
    except OSError as error:
        raise ToolError(f"The file {str(path)!r} could not be read: {error.strerror}.") from None
