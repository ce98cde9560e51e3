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

from attrs import evolve, fields, frozen
from nanoclaw_wire.layout import LEASH_VARIABLE

from nanoclaw_core import HeldMount, Limits, Mount, SandboxFailed, SandboxSpec, hand_over, hold_mounts
from nanoclaw_runtime_process import bubblewrap
from nanoclaw_runtime_process.bubblewrap import Walls
from nanoclaw_runtime_process.interpreter import Interpreter
from nanoclaw_runtime_process.pipes import Pipe, memory_file, pipe
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
        pipes = _Pipes.make(files)
        with contextlib.ExitStack() as memory:
            inherited, plan = _inherited(memory, pipes, program, spec, interpreter, walls, [*held, *shown])
            inherited += [one.descriptor for one in (*held, *shown)]
            process = await _spawn(plan, inherited, pipes.stderr.writing)
        _record(registry, files, spec.name, process.pid)  # at once: a host that dies now leaves it to the next one
        for file in pipes.ends_inside:
            file.close()  # our copies: the other side's end must be the only one, so that its death is noticed
        namespace = await _namespace(process, pipes.info.reading, pipes.stderr.reading)
        files.callback(namespace.close)
        _record(registry, files, spec.name, namespace.pid)
        await _release(pipes, namespace)
        until_the_end = files.pop_all()

    def ended() -> None:
        until_the_end.close()
        on_end()

    return ProcessSandbox(
        process,
        pipes.stderr.reading,
        pid=namespace.pid,
        ask=lambda: signal_inside(namespace.pid),
        end=namespace.kill,
        on_end=ended,
    )


def _record(registry: Registry | None, files: contextlib.ExitStack, name: str, process_id: int) -> None:
    if registry is not None:
        registry.record(name, process_id)
        files.callback(registry.forget, process_id)


@frozen(kw_only=True)
class _Pipes:
    """The pipes between the host and a sandbox that starts.

    Args:
        info: bubblewrap writes the id of the sandbox's first process.
        release: bubblewrap waits there before it runs the program; stage.py writes the byte.
        requests: stage.py reads the id of the process to limit.
        answers: stage.py writes a byte once the process is limited and released, or the reason why it is not.
        leash: The runner reads its end, and ends itself, when the host is gone.
        stderr: The error output of all of them.
    """

    info: Pipe
    release: Pipe
    requests: Pipe
    answers: Pipe
    leash: Pipe
    stderr: Pipe

    @classmethod
    def make(cls, files: contextlib.ExitStack) -> _Pipes:
        return cls(**{field.name: pipe(files) for field in fields(cls)})

    @property
    def ends_inside(self) -> list[BinaryIO]:
        """Return the ends that only the other side keeps."""
        writing = (self.info, self.answers, self.stderr)
        reading = (self.release, self.requests, self.leash)
        return [*(one.writing for one in writing), *(one.reading for one in reading), self.release.writing]


def _inherited(
    memory: contextlib.ExitStack,
    pipes: _Pipes,
    program: str,
    spec: SandboxSpec,
    interpreter: Interpreter,
    walls: Walls,
    staged: Sequence[HeldMount],
) -> tuple[list[int], int]:
    """Return the descriptors that stage.py and bubblewrap inherit, and that of the plan of stage.py."""
    made_up = {path: memory_file(memory, text).fileno() for path, text in bubblewrap.MADE_UP_FILES.items()}
    descriptors = bubblewrap.Descriptors(
        made_up=made_up, info=pipes.info.writing.fileno(), release=pipes.release.reading.fileno()
    )
    stage = bubblewrap.stage()
    names = {one.mount.source: f"{stage}/{number}" for number, one in enumerate(staged)}
    variables = {**spec.environment, LEASH_VARIABLE: str(pipes.leash.reading.fileno())}
    arguments = bubblewrap.command(evolve(spec, environment=variables), interpreter, descriptors, walls, names)
    inside = arguments.index("--")
    options = memory_file(memory, "".join(f"{argument}\0" for argument in arguments[:inside])).fileno()
    plan = {
        "user_id": walls.user_id,
        "stage": stage,
        "directories": [(str(one.path), one.descriptor) for one in staged],
        "gate": [end.fileno() for end in (pipes.requests.reading, pipes.release.writing, pipes.answers.writing)],
        "limits": _limits(spec.limits),
        "host": os.getpid(),
        "command": [program, "--args", str(options), *arguments[inside:]],
    }
    ends = [end.fileno() for end in pipes.ends_inside]
    return [*made_up.values(), *ends, options], memory_file(memory, marshal.dumps(plan)).fileno()


async def _release(pipes: _Pipes, namespace: _Namespace) -> None:
    """Have the sandbox's first process limited and released.

    Raises:
        SandboxFailed: It could not be limited, and was killed.
    """
    with contextlib.suppress(BrokenPipeError):  # stage.py's end is gone; so is its answer
        pipes.requests.writing.write(str(namespace.pid).encode())
    answer = await _read_to_end(pipes.answers.reading)
    if answer != b"!":
        namespace.kill()
        reason = answer.decode("utf-8", "replace") or "its starter ended"
        raise SandboxFailed(f"bubblewrap: the sandbox's limits could not be set: {reason}")


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


async def _spawn(plan: int, inherited: Sequence[int], stderr: BinaryIO) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(STAGE), str(plan),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=stderr,
            env={},
            cwd="/",
            start_new_session=True,  # ctrl-c in the host's terminal is for the host, which then asks politely
            pass_fds=[plan, *inherited],
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
