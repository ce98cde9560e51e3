"""A chat platform in a separate process, which outlives every host.

Run as `python external_platform.py SOCKET`.

The platform offers each message until a host acknowledges it. It writes each delivery to its journal before it answers
the host. It reads orders from standard input and writes the journal to standard output, one JSON object a line; the
pipe keeps the journal of a killed platform. The module imports only the standard library, so that it starts quickly.

Orders: `{"write": id, "room", "thread", "text", "files"}`, `{"mode": name, "attempts": n}` (`n` deliveries later the
platform works again; null: until the next order) and `{"cut": true}`, which closes all connections.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any

LINE_LIMIT = 2**26
LONGEST_DELAY_S = 0.5


class Mode(Enum):
    """The platform's behaviour for deliveries."""

    WORKS = "works"
    REFUSES = "refuses with an error"
    DELAYS = "delays each answer"
    HANGS = "hangs without accepting anything"
    HANGS_UP = "hangs up without accepting anything"
    LOSES_ANSWERS = "accepts the delivery and hangs up"


class Platform:
    """A server for hosts on a unix socket. It executes the orders of its driver."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._open_messages: dict[str, dict[str, Any]] = {}
        self._mode = Mode.WORKS
        self._attempts: int | None = None
        self._newest: asyncio.StreamWriter | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._hanging: list[Callable[[], None]] = []

    def execute(self, order: dict[str, Any]) -> None:
        """Execute one order of the driver."""
        if "write" in order:
            self._open_messages[order["write"]] = order
            self._offer(order["write"])
        elif "mode" in order:
            self._mode, self._attempts = Mode(order["mode"]), order["attempts"]
            self._resume_hanging()
        else:
            for writer in list(self._connections):
                writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Offer every unacknowledged message to a host, then read its frames until the connection closes."""
        self._newest = writer
        self._connections.add(writer)
        record(event="connected")
        for message_id in list(self._open_messages):
            self._offer(message_id)
        with contextlib.suppress(ConnectionError):
            while (line := await reader.readline()).endswith(b"\n"):
                self._handle_frame(writer, json.loads(line))
        self._connections.discard(writer)
        writer.close()

    def _offer(self, message_id: str) -> None:
        message = self._open_messages.get(message_id)
        if message is not None and self._newest is not None and not self._newest.is_closing():
            send(self._newest, {**message, "offer": message_id})
            record(event="offer", id=message_id)

    def _handle_frame(self, writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
        if "accepted" in frame:
            self._open_messages.pop(frame["accepted"], None)
            record(event="accept", id=frame["accepted"], outcome=frame["outcome"])
        elif "refused" in frame:
            record(event="refuse", id=frame["refused"], why=frame["why"])
            asyncio.get_running_loop().call_later(0.05, self._offer, frame["refused"])
        else:
            record(event="attempt", key=frame["deliver"], mode=self._mode.value)
            self._handle_delivery(writer, frame)

    def _handle_delivery(self, writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
        if writer.is_closing():
            return  # the host that hung here was killed
        match self._mode:
            case Mode.WORKS:
                accept(writer, frame)
            case Mode.REFUSES:
                send(writer, {"failed": frame["deliver"], "why": "500 Internal Server Error"})
            case Mode.DELAYS:
                pause_s = self._dice.uniform(0.0, LONGEST_DELAY_S)
                asyncio.get_running_loop().call_later(pause_s, accept, writer, frame)
            case Mode.HANGS:
                self._hanging.append(lambda: self._handle_delivery(writer, frame))
                return  # a hanging attempt counts when the mode ends
            case Mode.HANGS_UP:
                writer.close()
            case Mode.LOSES_ANSWERS:
                record(event="deliver", **frame)
                writer.close()
        self._count_attempt()

    def _count_attempt(self) -> None:
        if self._attempts is not None:
            self._attempts -= 1
            if self._attempts <= 0:
                self._mode, self._attempts = Mode.WORKS, None

    def _resume_hanging(self) -> None:
        hanging, self._hanging = self._hanging, []
        for handle in hanging:
            handle()


def accept(writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
    """Write a delivery to the journal, then answer it, unless the connection has closed."""
    if writer.is_closing():
        return
    record(event="deliver", **frame)
    send(writer, {"taken": frame["deliver"], "id": f"out-{frame['deliver']}"})
    record(event="taken", key=frame["deliver"])


def send(writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
    writer.write(json.dumps(frame).encode() + b"\n")


def record(**entry: Any) -> None:
    """Write one entry of the journal, and return when it is in the pipe."""
    line = json.dumps(entry).encode() + b"\n"
    while line:
        line = line[os.write(sys.stdout.fileno(), line) :]


async def main(path: str) -> None:
    """Serve until standard input closes."""
    platform = Platform(random.Random(0))
    orders = asyncio.StreamReader(limit=LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  (pathlib costs a tenth of the start)
    await asyncio.start_unix_server(platform.serve, path=path, limit=LINE_LIMIT)
    record(event="ready")
    while line := await orders.readline():
        platform.execute(json.loads(line))
    os._exit(0)  # asyncio would report each open connection that it cancels


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
