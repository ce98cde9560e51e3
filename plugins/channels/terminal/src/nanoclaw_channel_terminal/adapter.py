"""The host's end of the terminal's socket.

A message counts as delivered when a terminal confirms that it has shown the message, or when the database stores it for
the next terminal (⚠23). So no message is lost if no terminal is attached, or if one dies before it shows the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from nanoclaw_wire.task_set import TaskSet
from nanoclaw_wire.unix_socket import bind_unix

from nanoclaw_channel_terminal import frames, rows
from nanoclaw_channel_terminal.frames import BadFrame, OperatorMessage, SeenNotice
from nanoclaw_channel_terminal.protocol import MAX_LINE_BYTES, OPERATOR, ROOM, SOCKET
from nanoclaw_core import Address, Attachment, DeliveryRefused, Inbound, NanoclawError, Outbound, PluginContext, Receive

log = logging.getLogger("nanoclaw.terminal")

SEEN_TIMEOUT_S = 2.0  # a live terminal confirms in a millisecond; a suspended one gets the stored message later
CLOSE_S = 0.5  # a cancelled connection ends at once
MAX_BUFFERED_BYTES = 2 * MAX_LINE_BYTES  # a terminal with more unread data is disconnected


class TerminalAdapter:
    """Connects the attached terminals to the core.

    It stores messages if no terminal shows them.
    """

    def __init__(self, context: PluginContext, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._context, self._max_line_bytes = context, max_line_bytes
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving = TaskSet()
        self._unseen: dict[str, asyncio.Future[bool]] = {}
        self._status = ""

    async def listen(self, receive: Receive) -> None:
        """Accept terminals until cancelled."""

        def attached(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._serving.spawn(self._serve(reader, writer, receive))

        path = self._context.run_dir / SOCKET
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = await asyncio.start_unix_server(attached, sock=bind_unix(path, mode=0o600), limit=self._max_line_bytes)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            path.unlink(missing_ok=True)
            await self._serving.close(CLOSE_S)

    async def deliver(self, address: Address, message: Outbound) -> str:
        """Show a message on every attached terminal, or store it if no terminal shows it."""
        if address.room != ROOM:
            raise DeliveryRefused(f"room: the terminal only has {ROOM!r}, got {address.room!r}")
        session = rows.session_of(self._context.database, message.idempotency_key) if message.files else None
        frame = frames.message_frame(message, session)
        line = frames.encode(frame)
        if len(line) > self._max_line_bytes:
            raise DeliveryRefused(
                f"the message is too large: a terminal accepts {self._max_line_bytes} bytes, got {len(line)}"
            )
        if message.card is not None and message.card.options:
            rows.open_card(self._context.database, [option.value for option in message.card.options])
        if not await self._show(message.idempotency_key, line):
            rows.store_undelivered(
                self._context.database, message.idempotency_key, json.dumps(frame | {"is_kept": True})
            )
        return message.idempotency_key

    async def show_typing(self, _address: Address) -> None:
        """Report to all terminals that the agent is working."""
        self._send_to_all({"type": "typing"})

    async def show_status(self, _address: Address, text: str) -> None:
        """Report the current activity to all terminals. An empty text means none."""
        self._status = text
        self._send_to_all({"type": "status", "text": text})

    async def _show(self, message_id: str, line: bytes) -> bool:
        """Send a message to all terminals. Return whether one of them confirmed in time."""
        if not self._writers:
            return False
        seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unseen[message_id] = seen
        for writer in list(self._writers):
            self._send(writer, line)
        try:
            async with asyncio.timeout(SEEN_TIMEOUT_S):
                return await seen
        except TimeoutError:
            return False
        finally:
            del self._unseen[message_id]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receive: Receive) -> None:
        # Stored messages go out before new ones: there is no await between here and the loop.
        for frame in rows.undelivered(self._context.database):
            self._send(writer, frame.encode() + b"\n")
        self._send(writer, frames.encode({"type": "ready", "status": self._status}))
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    await self._handle_line(line, writer, receive)
        except ValueError:  # the stream reader raises it for a line over its limit
            self._send(writer, _error(f"the line is longer than {self._max_line_bytes} bytes. Send smaller files."))
        finally:
            self._detach(writer)

    def _detach(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
        if not self._writers:
            for seen in self._unseen.values():
                if not seen.done():
                    seen.set_result(False)

    async def _handle_line(self, line: bytes, writer: asyncio.StreamWriter, receive: Receive) -> None:
        try:
            frame = frames.parse_terminal_frame(line)
        except BadFrame as error:
            self._send(writer, _error(f"bad frame: {error}"))
            return
        if isinstance(frame, SeenNotice):
            self._confirm(frame.id)
            return
        try:
            await self._forward(frame, writer, receive)
        except Exception as error:  # the message's error boundary: its author must learn of the failure
            log.error("message not accepted", exc_info=error)
            reason = str(error) if isinstance(error, NanoclawError) else "the host failed; `ncl logs` shows why"
            self._send(writer, frames.encode(_accepted(frame.id, "failed", reason)))

    async def _forward(self, message: OperatorMessage, writer: asyncio.StreamWriter, receive: Receive) -> None:
        choice = rows.chosen_value(self._context.database, message.text.strip())
        receipt = await receive(self._inbound(message, message.text if choice is None else choice))
        if choice is not None:
            rows.close_card(self._context.database)
        self._send(writer, frames.encode(_accepted(message.id, receipt.outcome.value, receipt.reason)))
        said = frames.encode({"type": "said", "text": message.text, "files": [file.name for file in message.files]})
        for other in self._writers - {writer}:
            self._send(other, said)

    def _inbound(self, message: OperatorMessage, text: str) -> Inbound:
        attachments = [
            Attachment(name=file.name, kind=_kind(file.mime_type), content=file.content, mime_type=file.mime_type)
            for file in message.files
        ]
        return Inbound(
            room=ROOM,
            room_name="terminal",
            text=text,
            sender=OPERATOR,
            sender_name=self._context.environment.get("USER") or OPERATOR,
            message_id=message.id,
            attachments=attachments,
            is_mention=True,
        )

    def _confirm(self, message_id: str) -> None:
        seen = self._unseen.get(message_id)
        if seen is None:
            rows.delete(self._context.database, message_id)
        elif not seen.done():
            seen.set_result(True)

    def _send_to_all(self, frame: Mapping[str, Any]) -> None:
        line = frames.encode(frame)
        for writer in list(self._writers):
            self._send(writer, line)

    def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        if writer.transport.get_write_buffer_size() > MAX_BUFFERED_BYTES:
            log.warning("terminal disconnected because it does not read")
            writer.transport.abort()
        elif not writer.is_closing():
            writer.write(line)


def _accepted(frame_id: str, outcome: str, reason: str | None) -> dict[str, Any]:
    return {"type": "accepted", "id": frame_id, "outcome": outcome, "reason": reason}


def _error(message: str) -> bytes:
    return frames.encode({"type": "error", "message": message})


def _kind(mime_type: str | None) -> str:
    family = (mime_type or "").partition("/")[0]
    return family if family in ("image", "audio", "video") else "file"
