"""Starting one program in bubblewrap: the descriptors it inherits, the limits it gets, and the way to signal it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterable
from typing import BinaryIO

from nanoclaw_core import Limits, SandboxFailed, SandboxSpec
from nanoclaw_runtime_process import bubblewrap
from nanoclaw_runtime_process.interpreter import Interpreter
from nanoclaw_runtime_process.pipes import memory_file, pipe
from nanoclaw_runtime_process.sandbox import ProcessSandbox, signal_inside


async def start_confined(
    program: str,
    spec: SandboxSpec,
    interpreter: Interpreter,
    temporary_bytes: int,
    on_end: Callable[[str, int], None] = lambda _name, _pid: None,
) -> ProcessSandbox:
    """Start it, and give it its limits before its first instruction.

    Raises:
        SandboxFailed: bubblewrap did not come as far as making the namespaces; the message has its words.
    """
    with contextlib.ExitStack() as files:
        made_up = {path: memory_file(files, text) for path, text in bubblewrap.MADE_UP_FILES.items()}
        (info, info_inside), (release_inside, release) = pipe(files), pipe(files)
        said, words_inside = pipe(files)
        descriptors = bubblewrap.Descriptors(
            made_up={path: file.fileno() for path, file in made_up.items()},
            info=info_inside.fileno(),
            release=release_inside.fileno(),
        )
        words = bubblewrap.command(spec, interpreter, descriptors, temporary_bytes, spec.environment)
        inside = words.index("--")
        options = memory_file(files, "".join(f"{word}\0" for word in words[:inside]))
        inherited = [*made_up.values(), info_inside, release_inside, options]
        process = await _spawn([program, "--args", str(options.fileno()), *words[inside:]], inherited, words_inside)
        for file in (*inherited, words_inside):
            file.close()  # our copies: the other side's end must be the only one, so that its death is noticed
        namespace = await _namespace(process, info, said)
        files.callback(namespace.close)
        _limit(namespace.pid, spec.limits)
        release.write(b"!")
        files.pop_all()  # from here on the sandbox has them
    info.close()
    release.close()

    def ended() -> None:
        namespace.close()
        on_end(spec.name, namespace.pid)

    return ProcessSandbox(
        process,
        said,
        pid=namespace.pid,
        ask=lambda: signal_inside(namespace.pid),
        end=namespace.kill,
        on_end=ended,
    )


class _Namespace:
    """The first process of a process namespace: when it dies, the kernel ends all others in it.

    bubblewrap itself is not enough to kill: as long as it sets things up the inside would outlive it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


async def _spawn(command: list[str], inherited: Iterable[BinaryIO], words: BinaryIO) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=words,
            env={},
            cwd="/",
            start_new_session=True,  # ctrl-c in the host's terminal is for the host, which then asks politely
            pass_fds=[file.fileno() for file in inherited],
        )
    except OSError as error:
        raise SandboxFailed(f"bubblewrap could not be started: {error}") from error


async def _namespace(process: Process, info: BinaryIO, said: BinaryIO) -> _Namespace:
    """Return the namespace, as soon as bubblewrap tells of it."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), info
    )
    try:
        return _Namespace(int(json.loads(await reader.readuntil(b"}"))["child-pid"]))
    except (asyncio.IncompleteReadError, ProcessLookupError):
        await process.wait()
        words = said.read(4_000).decode("utf-8", "replace").strip()
        raise SandboxFailed(f"bubblewrap: {words or 'ended at once'}") from None
    finally:
        transport.close()


def _limit(pid: int, limits: Limits) -> None:
    """Limit what a namespace that still waits to be released may use.

    Memory is counted for each process on its own, and only what it can write to privately: the address space as a whole
    says nothing, JavaScript engines reserve far more of it than they use.
    """
    with contextlib.suppress(ProcessLookupError):  # it died meanwhile; whoever waits for it will hear why
        resource.prlimit(pid, resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if bubblewrap.counts_processes_per_sandbox():
            resource.prlimit(pid, resource.RLIMIT_NPROC, (limits.pids, limits.pids))
