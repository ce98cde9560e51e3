"""Sends messages and requests for tools: the `ToolHost` of plugins, and more for the built-in tools."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from nanoclaw_wire import layout
from nanoclaw_wire.content import MAX_REQUEST_CHARACTERS
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.inbound import Destination, InboundMessage, RoomAddress
from nanoclaw_wire.labels import exact
from nanoclaw_wire.outbound import NewOutbound, OutboundMessage

from nanoclaw_runner.destinations import find, names
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.outbound_builder import (
    OutboundBuilder,
    ReplyTarget,
    action_message,
    chat_message,
    new_message_id,
    sendable,
)
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import PendingPrompts
from nanoclaw_runner.provider import ToolError
from nanoclaw_runner.workspace import Workspace

COPY_BYTES = 1_048_576


class Messenger:
    """Sends for the model while a turn runs. A message is durable when its call returns."""

    def __init__(
        self, *, workspace: Workspace, inbox: Inbox, outbox: Outbox, pending: PendingPrompts, outbound: OutboundBuilder
    ) -> None:
        self._workspace, self._inbox, self._outbox = workspace, inbox, outbox
        self._pending, self._outbound = pending, outbound

    async def send_message(self, text: str, to: str | None) -> int:
        """Write a message; see `ToolHost`."""
        if not text.strip():
            raise ToolError("`text` must not be empty. Give the text of the message.")
        return self._send(self._outbound.message(self.resolve(to), {"text": sendable(text)}))

    async def send_file(self, path: str, to: str | None, text: str, name: str | None) -> int:
        """Copy a file to the outbox directory, and write the message that refers to it.

        Args:
            path: Absolute, or below the agent's folder.
            to: The name of the destination; None for the conversation of the running turn.
            text: The text that goes with the file.
            name: The name that people see; None keeps the file's name.

        Raises:
            ToolError: The file or the destination does not exist, or the name is not a file name.
            OSError: The machine is exhausted.
        """
        source = self._workspace.agent / path
        shown_name = name or source.name
        if not layout.is_safe_name(shown_name):
            raise ToolError(f"{shown_name!r} is not a file name. Give one without slashes, of at most 255 bytes.")
        if not source.is_file():
            raise ToolError(f"There is no file {path!r}. Give a path below your folder, or an absolute one.")
        address, message_id = self.resolve(to), new_message_id()
        folder = self._workspace.files.outbox / message_id
        try:
            await asyncio.to_thread(_copy, source, folder / shown_name)
        except (OSError, ToolError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, ToolError) or is_exhausted(error):
                raise
            raise ToolError(f"The file {path!r} could not be copied: {error.strerror}.") from error
        values = {"text": sendable(text), "files": [shown_name]}
        return self._send(self._outbound.message(address, values, message_id))

    async def operate(self, seq: int, values: Mapping[str, Any]) -> None:
        """Write an operation on a message that was sent or received: `{operation, …}`.

        Raises:
            ToolError: No message has that number, or it belongs to no chat.
        """
        message = self._inbox.by_seq(seq) if seq % 2 == 0 else self._outbox.by_seq(seq)
        if message is None:
            raise ToolError(f"There is no message {seq}. Use the id of a <message>, or one that a tool returned.")
        if message.channel is None or message.room is None:
            raise ToolError(f"The message {seq} belongs to no chat.")
        self._send(chat_message(_conversation_of(message), {**values, "seq": seq}))

    async def request(self, action_name: str, arguments: Mapping[str, Any]) -> str:
        """Write an action row; see `ToolHost`."""
        request_id = f"req-{secrets.token_hex(8)}"
        row = action_message(action_name, request_id, dict(arguments), self._outbound.in_reply_to())
        if len(row.content) > MAX_REQUEST_CHARACTERS:
            length, most = len(row.content), MAX_REQUEST_CHARACTERS
            raise ToolError(f"The request has {length} characters, and the host takes {most}. Make it shorter.")
        self._inbox.expect_answer(request_id)
        self._outbox.send(row, highest_inbound=self._inbox.highest())
        return request_id

    async def answer(self, request_id: str, timeout_s: float) -> Mapping[str, Any]:
        """Wait for the host's answer; see `ToolHost`."""
        waiting = self._inbox.answer_to(request_id)
        if waiting is None:
            raise ToolError(f"There is no request {request_id!r}. Make the request before you wait for its answer.")
        try:
            async with asyncio.timeout(timeout_s):
                row = await waiting
        except TimeoutError as error:
            raise ToolError(f"No answer came within {timeout_s:g} seconds.") from error
        finally:
            self._inbox.forget_answer(request_id)
        return row.values

    def resolve(self, to: str | None) -> RoomAddress:
        """Return the address of a name; for None, that of the conversation of the running turn.

        Raises:
            ToolError: There is no such address; the message lists the known names.
        """
        destinations = self._inbox.destinations()
        if to is not None:
            destination = find(self._known(), to)
            if destination is None:
                raise ToolError(f"There is no destination {to!r}. {_choices(destinations)}")
            return destination.address
        current = self._outbound.current_address()
        if current is not None:
            return current
        if len(destinations) != 1:
            raise ToolError(f"`to` must name a destination. {_choices(destinations)}")
        return destinations[0].address

    def name_of(self, to: str | None) -> str:
        """Return the model's name of a destination; for None, that of the conversation of the running turn."""
        if to is not None:
            return to
        address = self.resolve(None)
        known = (destination.name for destination in self._known() if destination.address == address)
        return next(known, exact(f"{address.channel}:{address.room}"))

    def _known(self) -> Sequence[Destination]:
        """Return the names that the running turn may use; those in the file if no prompt was written yet."""
        return self._pending.destinations(self._pending.answering) or self._inbox.destinations()

    def _send(self, message: NewOutbound) -> int:
        number = self._outbox.send(message, highest_inbound=self._inbox.highest())
        self._pending.has_spoken = True
        return number


def _conversation_of(message: InboundMessage | OutboundMessage) -> ReplyTarget:
    in_reply_to = message.id if isinstance(message, InboundMessage) else message.in_reply_to
    return ReplyTarget(channel=message.channel, room=message.room, thread=message.thread, in_reply_to=in_reply_to)


def _choices(destinations: Sequence[Destination]) -> str:
    return f"Known names: {names(destinations)}." if destinations else "No destinations are configured."


def _copy(source: Path, target: Path) -> None:
    """Copy a file.

    Raises:
        ToolError: Reading fails. The model chooses the file, and some files of `/proc` fail with EIO as a broken disk.
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
