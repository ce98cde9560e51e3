"""Starting one program in bubblewrap: the descriptors it inherits, the limits it gets, and the way to signal it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterable
from typing import BinaryIO

from nanoclaw_core import Limits, SandboxFailed, SandboxSpec
from nanoclaw_runtime_process import bubblewrap
from nanoclaw_runtime_process.interpreter import Interpreter
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
        made_up = {path: _memory_file(files, text) for path, text in bubblewrap.MADE_UP_FILES.items()}
        (info, info_inside), (release_inside, release) = _pipe(files), _pipe(files)
        descriptors = bubblewrap.Descriptors(
            made_up={path: file.fileno() for path, file in made_up.items()},
            info=info_inside.fileno(),
            release=release_inside.fileno(),
        )
        words = bubblewrap.command(spec, interpreter, descriptors, temporary_bytes, spec.environment)
        inside = words.index("--")
        options = _memory_file(files, "".join(f"{word}\0" for word in words[:inside]))
        inherited = [*made_up.values(), info_inside, release_inside, options]
        process = await _spawn([program, "--args", str(options.fileno()), *words[inside:]], inherited)
        for file in inherited:
            file.close()  # our copies: the other side's end must be the only one, so that its death is noticed
        try:
            init = await _process_inside(process, info)
            _limit(init, spec.limits)
            release.write(b"!")
        except BaseException:
            await _end(process)
            raise
    return ProcessSandbox(
        process,
        ask=lambda: signal_inside(init),
        end=process.kill,  # --die-with-parent takes the namespace along, and with it every process inside
        on_end=lambda: on_end(spec.name, process.pid),
    )


async def _spawn(command: list[str], inherited: Iterable[BinaryIO]) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env={},
            cwd="/",
            pass_fds=[file.fileno() for file in inherited],
        )
    except OSError as error:
        raise SandboxFailed(f"bubblewrap could not be started: {error}") from error


async def _process_inside(process: Process, info: BinaryIO) -> int:
    """Return the id of the namespace's init process, as soon as bubblewrap tells it."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), info
    )
    try:
        return int(json.loads(await reader.readuntil(b"}"))["child-pid"])
    except asyncio.IncompleteReadError:
        said = await process.stderr.read(4_000) if process.stderr is not None else b""
        raise SandboxFailed(f"bubblewrap: {said.decode('utf-8', 'replace').strip() or 'ended at once'}") from None
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


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    if process.stderr is not None:
        await process.stderr.read()
    await process.wait()


def _memory_file(files: contextlib.ExitStack, text: str) -> BinaryIO:
    file = files.enter_context(os.fdopen(os.memfd_create("nanoclaw"), "w+b", buffering=0))
    file.write(text.encode("utf-8", "surrogateescape"))
    file.seek(0)
    return file


def _pipe(files: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe()
    return (
        files.enter_context(os.fdopen(reader, "rb", buffering=0)),
        files.enter_context(os.fdopen(writer, "wb", buffering=0)),
    )
