"""Reads a request body in bounded steps, because each chunk of it costs time of the event loop."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from nanoclaw_resource_gateway.pace import Pace

CHUNKS_PER_S = 10_000  # of all calls of a session
BUFFERED_CHUNKS = 256  # parsed ahead of the reader; aiohttp derives it from its buffer size
READ_BUFFER_BYTES = BUFFERED_CHUNKS * 16
PART_CHUNKS, PART_BYTES = 256, 64 * 1024
PART_COST = 10  # a part costs as much time as this many chunks, because it wakes the reader and is sent on
MAX_SMALL_CHUNKS, SMALL_BYTES = 10_000, 64


class BodyReader:
    """Reads the body of one request, and joins the chunks that have arrived.

    Args:
        request: The request, whose body has no other reader.
        pace: The pace of the chunks of a session.
    """

    def __init__(self, request: web.BaseRequest, pace: Pace) -> None:
        self._request, self._content, self._pace = request, request.content, pace
        self._unpaced = 0
        self.size_bytes, self.chunks = 0, 0

    @property
    def is_at_end(self) -> bool:
        """True after the last byte."""
        return self._content.at_eof()

    @property
    def has_small_chunks(self) -> bool:
        """True if the body has more small chunks than an honest one."""
        return self.chunks > MAX_SMALL_CHUNKS and self.size_bytes < self.chunks * SMALL_BYTES

    async def read(self, timeout_s: float) -> bytes:
        """Return the next bytes, empty at the end. Wait first if the session's chunks exceed their pace.

        Raises:
            TimeoutError: No byte arrived in time.
        """
        if self._unpaced:
            unpaced, self._unpaced = self._unpaced, 0
            await self._pause(self._pace.next_delay_s(time.monotonic(), unpaced + PART_COST))
        async with asyncio.timeout(timeout_s):
            part = [await self._next_chunk()]
            left_bytes = PART_BYTES - len(part[0])
            while left_bytes > 0 and self._unpaced < PART_CHUNKS and self.size_bytes < self._content.total_bytes:
                part.append(await self._next_chunk())  # has arrived, so it does not wait
                left_bytes -= len(part[-1])
        return b"".join(part)

    async def _pause(self, delay_s: float) -> None:
        """Let the other connections have a turn. Receive nothing meanwhile, because that costs time, too."""
        transport = self._request.transport
        if delay_s <= 0 or transport is None or not transport.is_reading():  # aiohttp itself may have paused it
            await asyncio.sleep(delay_s)
            return
        transport.pause_reading()
        try:
            await asyncio.sleep(delay_s)
        finally:
            transport.resume_reading()

    async def _next_chunk(self) -> bytes:
        chunk, _ = await self._content.readchunk()
        self._unpaced += 1
        self.chunks += 1
        self.size_bytes += len(chunk)
        return chunk
