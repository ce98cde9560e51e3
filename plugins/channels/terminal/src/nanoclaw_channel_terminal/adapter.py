"""The host's end of the terminal's socket.

A message counts as delivered when a terminal says that it has shown it, or when it is kept in the database for the next
one to attach (⚠23). So neither an empty room nor a terminal that dies in between loses one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoclaw_wire.socket_path import short_path

from nanoclaw_channel_terminal import frames, rows
from nanoclaw_channel_terminal.frames import BadFrame, Say, Seen
from nanoclaw_channel_terminal.names import MAX_LINE_BYTES, OPERATOR, ROOM, SOCKET
from nanoclaw_core import Address, Attachment, DeliveryRefused, Inbound, NanoclawError, Outbound, PluginContext, Receive

log = logging.getLogger("nanoclaw.terminal")

SEEN_S = 2.0  # a terminal that is there answers in a millisecond; one that was suspended finds the message kept
MAX_WAITING_BYTES = 2 * MAX_LINE_BYTES  # a terminal that reads nothing for so long is hung up on


class TerminalAdapter:
    """The terminals that are attached, and what waits for one."""

    def __init__(self, context: PluginContext, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._context, self._max_line_bytes = context, max_line_bytes
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._unseen: dict[str, asyncio.Future[bool]] = {}
        self._status = ""

    async def listen(self, receive: Receive) -> None:
        """Take in terminals until cancelled."""

        def attached(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer, receive))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        path = self._context.run_dir / SOCKET
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = await asyncio.start_unix_server(attached, sock=_bind(path), limit=self._max_line_bytes)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            path.unlink(missing_ok=True)
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def deliver(self, address: Address, message: Outbound) -> str:
        """Show a message to every attached terminal, or keep it where none shows it."""
        if address.room != ROOM:
            raise DeliveryRefused(f"the terminal has one room, {ROOM!r}; there is no {address.room!r}")
        session = rows.session_of(self._context.database, message.idempotency_key) if message.files else None
        frame = frames.message(message, session)
        line = frames.line(frame)
        if len(line) > self._max_line_bytes:
            raise DeliveryRefused(
                f"{len(line)} bytes are more than the {self._max_line_bytes} that a terminal takes at once"
            )
        if message.card is not None and message.card.options:
            rows.open_card(self._context.database, [option.value for option in message.card.options])
        if not await self._is_shown(message.idempotency_key, line):
            rows.keep(self._context.database, message.idempotency_key, json.dumps(frame | {"is_kept": True}))
        return message.idempotency_key

    async def show_typing(self, _address: Address) -> None:
        """Tell terminals that the agent is at work."""
        self._send_to_all({"type": "typing"})

    async def show_status(self, _address: Address, text: str) -> None:
        """Tell terminals what is being waited for; an empty text is nothing."""
        self._status = text
        self._send_to_all({"type": "status", "text": text})

    async def _is_shown(self, message_id: str, line: bytes) -> bool:
        if not self._writers:
            return False
        seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unseen[message_id] = seen
        for writer in list(self._writers):
            self._send(writer, line)
        try:
            async with asyncio.timeout(SEEN_S):
                return await seen
        except TimeoutError:
            return False
        finally:
            del self._unseen[message_id]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receive: Receive) -> None:
        # What was kept goes out before anything new can: there is no await between here and the loop.
        for frame in rows.kept(self._context.database):
            self._send(writer, frame.encode() + b"\n")
        self._send(writer, frames.line({"type": "ready", "status": self._status}))
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    await self._take(line, writer, receive)
        except ValueError:  # what a stream reader says of a line over its limit
            self._send(writer, _error(f"a line may have {self._max_line_bytes} bytes; send smaller files"))
        finally:
            self._leave(writer)

    def _leave(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
        if not self._writers:
            for seen in self._unseen.values():
                if not seen.done():
                    seen.set_result(False)

    async def _take(self, line: bytes, writer: asyncio.StreamWriter, receive: Receive) -> None:
        try:
            frame = frames.from_terminal(line)
        except BadFrame as error:
            self._send(writer, _error(f"bad frame: {error}"))
            return
        if isinstance(frame, Seen):
            self._seen(frame.id)
            return
        try:
            await self._pass_on(frame, writer, receive)
        except Exception as error:  # the fence of one message: whoever wrote it must hear of it
            log.error("message not taken", exc_info=error)
            reason = str(error) if isinstance(error, NanoclawError) else "the host failed; `ncl logs` says why"
            self._send(writer, frames.line(_accepted(frame.id, "failed", reason)))

    async def _pass_on(self, say: Say, writer: asyncio.StreamWriter, receive: Receive) -> None:
        choice = rows.choice(self._context.database, say.text.strip())
        receipt = await receive(self._inbound(say, say.text if choice is None else choice))
        if choice is not None:
            rows.close_card(self._context.database)
        self._send(writer, frames.line(_accepted(say.id, receipt.outcome.value, receipt.reason)))
        said = frames.line({"type": "said", "text": say.text, "files": [file.name for file in say.files]})
        for other in self._writers - {writer}:
            self._send(other, said)

    def _inbound(self, say: Say, text: str) -> Inbound:
        attachments = [
            Attachment(name=file.name, kind=_kind(file.mime_type), content=file.content, mime_type=file.mime_type)
            for file in say.files
        ]
        return Inbound(
            room=ROOM,
            room_name="terminal",
            text=text,
            sender=OPERATOR,
            sender_name=self._context.environment.get("USER") or OPERATOR,
            message_id=say.id,
            attachments=attachments,
            is_mention=True,
        )

    def _seen(self, message_id: str) -> None:
        waiting = self._unseen.get(message_id)
        if waiting is None:
            rows.forget(self._context.database, message_id)
        elif not waiting.done():
            waiting.set_result(True)

    def _send_to_all(self, frame: Mapping[str, Any]) -> None:
        line = frames.line(frame)
        for writer in list(self._writers):
            self._send(writer, line)

    def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        if writer.transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            log.warning("hung up on a terminal that does not read")
            writer.transport.abort()
        elif not writer.is_closing():
            writer.write(line)


def _bind(path: Path) -> socket.socket:
    """Make the socket 0600 from its first moment; one that a dead host left is replaced.

    That no living host has it is the instance lock's work (I11).
    """
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_path(path) as short:
            listening.bind(short)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def _accepted(frame_id: str, outcome: str, reason: str | None) -> dict[str, Any]:
    return {"type": "accepted", "id": frame_id, "outcome": outcome, "reason": reason}


def _error(message: str) -> bytes:
    return frames.line({"type": "error", "message": message})


def _kind(mime_type: str | None) -> str:
    family = (mime_type or "").partition("/")[0]
    return family if family in ("image", "audio", "video") else "file"
