"""A running sandbox that is a process of ours: its end, its last words, and how it is asked to leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from nanoclaw_core import SandboxExit

LAST_WORDS_CHARACTERS = 4_000
_KEPT_BYTES = 4 * LAST_WORDS_CHARACTERS  # a character has at most four bytes
_AFTER_THE_END_S = 1.0  # how long a process that escaped its group may hold our end of the error output


class ProcessSandbox:
    """One process and what it says.

    Args:
        process: What we started, without a pipe of asyncio's own: it is gone when the process is, whoever else still
            holds the other end of its error output.
        said: Our end of its error output; closed here.
        pid: The process whose end is the end of all.
        ask: Sends SIGTERM to the program itself.
        end: Ends it and everything below it, at once.
        on_end: Called once, when it is gone.
    """

    def __init__(
        self,
        process: Process,
        said: BinaryIO,
        *,
        pid: int,
        ask: Callable[[], None],
        end: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.pid = pid
        self._process, self._said = process, said
        self._ask, self._end, self._on_end = ask, end, on_end
        self._killed = False
        self._tail = bytearray()
        self._ended = asyncio.create_task(self._watch())

    async def wait(self) -> SandboxExit:
        """Wait for its end."""
        return await asyncio.shield(self._ended)  # one waiter that gives up must not end the watch for the others

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL after so many seconds."""
        if self._ended.done():
            return
        self._ask()
        await asyncio.wait([self._ended], timeout=grace_s)
        if not self._ended.done():
            self._killed = True
            self._end()
            await asyncio.wait([self._ended], timeout=_AFTER_THE_END_S)
        if not self._ended.done():  # what holds it was stopped (SIGSTOP), and cannot see that all is over
            self._process.kill()
            await asyncio.wait([self._ended])

    async def _watch(self) -> SandboxExit:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._said
        )
        drain = asyncio.create_task(self._drain(reader))
        try:
            status = await self._process.wait()
            await asyncio.wait([drain], timeout=_AFTER_THE_END_S)
        finally:
            drain.cancel()
            transport.close()
        self._on_end()
        words = self._tail.decode("utf-8", "replace")[-LAST_WORDS_CHARACTERS:]
        code = exit_code(status)
        return SandboxExit(code=code, reason="killed" if self._killed or code < 0 else "exited", last_words=words)

    async def _drain(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(65_536):
            self._tail += chunk
            del self._tail[:-_KEPT_BYTES]


def exit_code(status: int) -> int:
    """Turn `128 + signal`, which bubblewrap and the leash report, into the negative number of the signal."""
    return 128 - status if 128 < status <= 128 + signal.NSIG else status


def signal_inside(init: int) -> None:
    """Send SIGTERM to the program whose parent is bubblewrap's init process of that id.

    To init itself it would mean nothing, and to bubblewrap outside it would kill the inside without its handlers.
    """
    for child in children_of(init):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
            return


def children_of(parent: int) -> list[int]:
    """Return the ids of a process's children, oldest first: the program, then orphans it left to init."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append((int(after_name[19]), int(path.parent.name)))  # proc_pid_stat(5): starttime, then the id
    return [pid for _, pid in sorted(found)]
