"""Starting one program in bubblewrap: the descriptors it inherits, the limits it gets, and the way to signal it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from attrs import evolve, frozen
from nanoclaw_wire.layout import LEASH_VARIABLE

from nanoclaw_core import HeldMount, Limits, Mount, SandboxFailed, SandboxSpec, hand_over, hold_mounts
from nanoclaw_runtime_process import bubblewrap
from nanoclaw_runtime_process.bubblewrap import Walls
from nanoclaw_runtime_process.interpreter import Interpreter
from nanoclaw_runtime_process.pipes import memory_file, pipe
from nanoclaw_runtime_process.registry import Registry
from nanoclaw_runtime_process.sandbox import ProcessSandbox, signal_inside

STAGE = Path(__file__).with_name("stage.py")


async def start_confined(
    program: str,
    spec: SandboxSpec,
    interpreter: Interpreter,
    walls: Walls,
    registry: Registry | None,
    on_end: Callable[[], None] = lambda: None,
) -> ProcessSandbox:
    """Start it, and give it its limits before its first instruction.

    Args:
        registry: Records the processes; None for a probe, which writes nothing to disk.

    Raises:
        SandboxRefused: A mount is missing, or is not the directory that was approved.
        SandboxFailed: bubblewrap did not come as far as making the namespaces; the message has its words.
    """
    interpreters = [Mount(source=directory, target=str(directory)) for directory in interpreter.directories]
    with hold_mounts(spec.mounts) as held, hold_mounts(interpreters) as shown, contextlib.ExitStack() as files:
        if walls.user_id is not None:
            await asyncio.to_thread(hand_over, held, walls.user_id, walls.user_id)
        pipes = _Pipes(*(end for _ in range(6) for end in pipe(files)))
        inherited = _inherited(files, pipes, program, spec, interpreter, walls, [*held, *shown])
        process = await _spawn(inherited, [one.descriptor for one in (*held, *shown)], pipes.words_inside)
        _record(registry, files, spec.name, process.pid)  # at once: a host that dies now leaves it to the next one
        for file in (*inherited, pipes.words_inside):
            file.close()  # our copies: the other side's end must be the only one, so that its death is noticed
        namespace = await _namespace(process, pipes.info, pipes.words)
        files.callback(namespace.close)
        _record(registry, files, spec.name, namespace.pid)
        with contextlib.suppress(BrokenPipeError):  # stage.py's end is gone; so is its answer
            pipes.requests.write(str(namespace.pid).encode())
        if await _read_to_end(pipes.answers) != b"!":
            namespace.kill()
            raise SandboxFailed("bubblewrap: the sandbox's limits could not be set")
        until_the_end = files.pop_all()

    def ended() -> None:
        until_the_end.close()
        on_end()

    for file in (pipes.info, pipes.answers):
        file.close()
    return ProcessSandbox(
        process,
        pipes.words,
        pid=namespace.pid,
        ask=lambda: signal_inside(namespace.pid),
        end=namespace.kill,
        on_end=ended,
    )


def _record(registry: Registry | None, files: contextlib.ExitStack, name: str, process_id: int) -> None:
    if registry is not None:
        registry.record(name, process_id)
        files.callback(registry.forget, process_id)


@frozen
class _Pipes:
    """The pipes between the host and a sandbox that starts, reading end first.

    Args:
        info: bubblewrap writes the id of the sandbox's first process.
        release_inside: bubblewrap waits there before it runs the program; stage.py writes the byte.
        requests_inside: stage.py reads the id of the process to limit.
        answers: stage.py writes a byte once the process is limited and released.
        leash_inside: The runner reads its end, and ends itself, when the host is gone.
        words: The error output of all of them.
    """

    info: BinaryIO
    info_inside: BinaryIO
    release_inside: BinaryIO
    release: BinaryIO
    requests_inside: BinaryIO
    requests: BinaryIO
    answers: BinaryIO
    answers_inside: BinaryIO
    leash_inside: BinaryIO
    leash: BinaryIO
    words: BinaryIO
    words_inside: BinaryIO


def _inherited(
    files: contextlib.ExitStack,
    pipes: _Pipes,
    program: str,
    spec: SandboxSpec,
    interpreter: Interpreter,
    walls: Walls,
    staged: Sequence[HeldMount],
) -> list[BinaryIO]:
    """Return the files that stage.py and bubblewrap inherit; the last one is the plan of stage.py."""
    made_up = {path: memory_file(files, text) for path, text in bubblewrap.MADE_UP_FILES.items()}
    descriptors = bubblewrap.Descriptors(
        made_up={path: file.fileno() for path, file in made_up.items()},
        info=pipes.info_inside.fileno(),
        release=pipes.release_inside.fileno(),
    )
    stage = bubblewrap.stage()
    names = {one.mount.source: f"{stage}/{number}" for number, one in enumerate(staged)}
    variables = {**spec.environment, LEASH_VARIABLE: str(pipes.leash_inside.fileno())}
    words = bubblewrap.command(evolve(spec, environment=variables), interpreter, descriptors, walls, names)
    inside = words.index("--")
    options = memory_file(files, "".join(f"{word}\0" for word in words[:inside]))
    plan = {
        "user_id": walls.user_id,
        "stage": stage,
        "directories": [(str(one.path), one.descriptor) for one in staged],
        "gate": [end.fileno() for end in (pipes.requests_inside, pipes.release, pipes.answers_inside)],
        "limits": _limits(spec.limits),
        "host": os.getpid(),
        "command": [program, "--args", str(options.fileno()), *words[inside:]],
    }
    gate = (pipes.release_inside, pipes.release, pipes.requests_inside, pipes.answers_inside)
    ends = (pipes.info_inside, pipes.leash_inside, *gate)
    return [*made_up.values(), *ends, options, memory_file(files, marshal.dumps(plan))]


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


async def _spawn(inherited: Sequence[BinaryIO], directories: Sequence[int], words: BinaryIO) -> Process:
    """Start stage.py; the last of the inherited files is its plan."""
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(STAGE), str(inherited[-1].fileno()),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=words,
            env={},
            cwd="/",
            start_new_session=True,  # ctrl-c in the host's terminal is for the host, which then asks politely
            pass_fds=[*(file.fileno() for file in inherited), *directories],
        )  # fmt: skip
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


async def _read_to_end(file: BinaryIO) -> bytes:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    try:
        return await reader.read()
    finally:
        transport.close()


def _limits(limits: Limits) -> list[tuple[int, int]]:
    """Return what one process of a sandbox may use, as pairs of resource and limit.

    Memory is counted for each process on its own, and only what it can write to privately: the address space as a whole
    says nothing, JavaScript engines reserve far more of it than they use.
    """
    found = [(resource.RLIMIT_DATA, limits.memory_bytes), (resource.RLIMIT_CORE, 0)]
    return found + ([(resource.RLIMIT_NPROC, limits.pids)] if bubblewrap.counts_processes_per_sandbox() else [])
