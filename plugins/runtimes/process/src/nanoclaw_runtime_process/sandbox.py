"""A running sandbox that is a child process: its exit, the tail of its stderr, and its stop signals."""

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

STDERR_TAIL_CHARACTERS = 4_000
_KEPT_BYTES = 4 * STDERR_TAIL_CHARACTERS  # a character has at most four bytes
_DRAIN_S = 1.0  # the wait for the end of stderr, which a process that left the group may keep open


class ProcessSandbox:
    """A process and its stderr.

    Args:
        process: The process that we started. It has no pipe of asyncio: then `wait` returns when the process ends, even
            if another process holds its stderr open.
        stderr: Our end of its stderr; closed here.
        pid: The first process. All others end with it.
        terminate: Sends SIGTERM to the program itself.
        kill: Kills the process and all its descendants.
        on_end: Called once, after the process has ended.
        was_out_of_memory: Returns whether the kernel killed a process at the sandbox's memory limit. Called before
            `on_end`.
    """

    def __init__(
        self,
        process: Process,
        stderr: BinaryIO,
        *,
        pid: int,
        terminate: Callable[[], None],
        kill: Callable[[], None],
        on_end: Callable[[], None],
        was_out_of_memory: Callable[[], bool] = lambda: False,
    ) -> None:
        self.pid = pid
        self._process, self._stderr = process, stderr
        self._terminate, self._kill, self._on_end = terminate, kill, on_end
        self._was_out_of_memory = was_out_of_memory
        self._killed = False
        self._tail = bytearray()
        self._ended = asyncio.create_task(self._watch())

    async def wait(self) -> SandboxExit:
        """Wait for the sandbox's end."""
        return await asyncio.shield(self._ended)  # cancelling one waiter must not cancel the others

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL after `grace_s` seconds."""
        if self._ended.done():
            return
        self._terminate()
        await asyncio.wait([self._ended], timeout=grace_s)
        if not self._ended.done():
            self._killed = True
            self._kill()
            await asyncio.wait([self._ended], timeout=_DRAIN_S)
        if not self._ended.done():  # the parent process is stopped (SIGSTOP), so it cannot react to the kill
            self._process.kill()
            await asyncio.wait([self._ended])

    async def _watch(self) -> SandboxExit:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._stderr
        )
        drain = asyncio.create_task(self._drain(reader))
        try:
            status = await self._process.wait()
            await asyncio.wait([drain], timeout=_DRAIN_S)
        finally:
            drain.cancel()
            transport.close()
        code = exit_code(status)
        reason = "killed" if self._killed or code < 0 else "exited"
        if code == -signal.SIGKILL and not self._killed and self._was_out_of_memory():
            reason = "out of memory"
        self._on_end()
        tail = self._tail.decode("utf-8", "replace")[-STDERR_TAIL_CHARACTERS:]
        return SandboxExit(code=code, reason=reason, stderr_tail=tail)

    async def _drain(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(65_536):
            self._tail += chunk
            del self._tail[:-_KEPT_BYTES]


def exit_code(status: int) -> int:
    """Turn `128 + signal`, which bubblewrap and the parent watchdog report, into the signal's negative number."""
    return 128 - status if 128 < status <= 128 + signal.NSIG else status


def terminate_program(init: int) -> None:
    """Send SIGTERM to the program below bubblewrap's init process `init`.

    The init process would ignore the signal. bubblewrap itself would die of it and kill the program without running the
    program's handlers.
    """
    for child in children_of(init):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
            return


def children_of(parent: int) -> list[int]:
    """Return the ids of a process's children, oldest first: the program, then the orphans that init adopted."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                children.append((int(after_name[19]), int(path.parent.name)))  # proc_pid_stat(5), field 22: starttime
    return [pid for _, pid in sorted(children)]
