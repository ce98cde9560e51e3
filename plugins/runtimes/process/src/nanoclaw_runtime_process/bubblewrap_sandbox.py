"""A sandbox in bubblewrap: its start, its inherited descriptors, its limits and its signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import re
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from attrs import evolve, fields, frozen
from nanoclaw_wire.layout import PARENT_WATCHDOG_VARIABLE

from nanoclaw_core import HeldMount, Limits, Mount, SandboxFailed, SandboxSpec, change_owner, hold_mounts
from nanoclaw_runtime_process import bubblewrap_command
from nanoclaw_runtime_process.bubblewrap_command import Isolation
from nanoclaw_runtime_process.cgroup import Cgroup
from nanoclaw_runtime_process.interpreter import Interpreter
from nanoclaw_runtime_process.pipes import Pipe, memory_file, pipe
from nanoclaw_runtime_process.registry import ProcessRegistry
from nanoclaw_runtime_process.sandbox import ProcessSandbox, terminate_program

LAUNCHER = Path(__file__).with_name("bubblewrap_launcher.py")
# The words of the C library for EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSPC (too many namespaces) and EDQUOT (keyrings).
SHORTAGE = re.compile(
    "Resource temporarily unavailable|Cannot allocate memory|Too many open files|No space left on device"
    "|Disk quota exceeded"
)


class Inconclusive(SandboxFailed):
    """bubblewrap or its launcher was killed or met a shortage, which does not prove that it cannot isolate."""


async def start_in_bubblewrap(
    program: str,
    spec: SandboxSpec,
    interpreter: Interpreter,
    isolation: Isolation,
    registry: ProcessRegistry | None,
    cgroup: Cgroup | None = None,
    on_end: Callable[[], None] = lambda: None,
) -> ProcessSandbox:
    """Start a program in bubblewrap, and set its limits before its first instruction.

    `registry` records the processes; it is None for a probe, which writes nothing to disk. `cgroup` is created here,
    and the caller removes it. Without it only the limits of each single process hold.

    Raises:
        SandboxRefused: A mount is missing, or is not the approved directory.
        SandboxFailed: bubblewrap did not create the namespaces; the message has its stderr.
    """
    interpreters = [Mount(source=directory, target=str(directory)) for directory in interpreter.directories]
    with hold_mounts(spec.mounts) as held, hold_mounts(interpreters) as shown, contextlib.ExitStack() as files:
        if isolation.user_id is not None:
            await asyncio.to_thread(change_owner, held, isolation.user_id, isolation.user_id)
        pipes = _Pipes.make(files)
        with contextlib.ExitStack() as memory:
            inherited, plan = _inherited(memory, pipes, program, spec, interpreter, isolation, [*held, *shown])
            inherited += [held_mount.descriptor for held_mount in (*held, *shown)]
            process = await _spawn(plan, inherited, pipes.stderr.writing)
        _record(registry, files, spec.name, process.pid)  # at once, so that the next host can reap it if this one dies
        await _place(process, cgroup, pipes.placed.writing)
        for file in pipes.ends_inside:
            file.close()  # the other process must hold the only copy, so that its death closes the pipe
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
        terminate=lambda: terminate_program(namespace.pid),
        kill=namespace.kill,
        on_end=ended,
        was_out_of_memory=cgroup.was_out_of_memory if cgroup else lambda: False,
    )


def _record(registry: ProcessRegistry | None, files: contextlib.ExitStack, name: str, process_id: int) -> None:
    if registry is not None:
        registry.record(name, process_id)
        files.callback(registry.forget, process_id)


@frozen(kw_only=True)
class _Pipes:
    """The pipes between the host and a starting sandbox.

    Args:
        info: bubblewrap writes the id of the sandbox's first process.
        release: bubblewrap waits for a byte from the launcher before it runs the program.
        requests: The launcher reads the id of the process to limit.
        placed: The launcher waits for a byte before it starts bubblewrap.
        answers: The launcher writes a byte after it has limited and released the process, or else the reason.
        parent_watchdog: The runner exits when it reads the end of this pipe, because the host is gone then.
        stderr: The stderr of all of them.
    """

    info: Pipe
    release: Pipe
    requests: Pipe
    placed: Pipe
    answers: Pipe
    parent_watchdog: Pipe
    stderr: Pipe

    @classmethod
    def make(cls, files: contextlib.ExitStack) -> _Pipes:
        return cls(**{field.name: pipe(files) for field in fields(cls)})

    @property
    def ends_inside(self) -> list[BinaryIO]:
        """Return the ends that only the other processes keep."""
        written = (self.info, self.answers, self.stderr)
        read = (self.release, self.requests, self.placed, self.parent_watchdog)
        return [*(pipe.writing for pipe in written), *(pipe.reading for pipe in read), self.release.writing]


def _inherited(
    memory: contextlib.ExitStack,
    pipes: _Pipes,
    program: str,
    spec: SandboxSpec,
    interpreter: Interpreter,
    isolation: Isolation,
    staged: Sequence[HeldMount],
) -> tuple[list[int], int]:
    """Return the descriptors that the launcher and bubblewrap inherit, and the descriptor of the launcher's plan."""
    generated = {path: memory_file(memory, text).fileno() for path, text in bubblewrap_command.GENERATED_FILES.items()}
    call_filter = memory.enter_context(isolation.call_filter.open("rb")).fileno() if isolation.call_filter else None
    descriptors = bubblewrap_command.Descriptors(
        generated=generated,
        info=pipes.info.writing.fileno(),
        release=pipes.release.reading.fileno(),
        call_filter=call_filter,
    )
    staging_directory = bubblewrap_command.staging_directory()
    names = {held.mount.source: f"{staging_directory}/{number}" for number, held in enumerate(staged)}
    variables = {**spec.environment, PARENT_WATCHDOG_VARIABLE: str(pipes.parent_watchdog.reading.fileno())}
    spec = evolve(spec, environment=variables)
    arguments = bubblewrap_command.command(spec, interpreter, descriptors, isolation, names)
    program_start = arguments.index("--")
    options = memory_file(memory, "".join(f"{argument}\0" for argument in arguments[:program_start])).fileno()
    plan = {
        "user_id": isolation.user_id,
        "staging_directory": staging_directory,
        "directories": [(str(held.path), held.descriptor) for held in staged],
        "control": [end.fileno() for end in (pipes.requests.reading, pipes.release.writing, pipes.answers.writing)],
        "limits": _limits(spec.limits),
        "placed": pipes.placed.reading.fileno(),
        "host": os.getpid(),
        "command": [program, "--args", str(options), *arguments[program_start:]],
    }
    ends = [end.fileno() for end in pipes.ends_inside]
    filters = [] if call_filter is None else [call_filter]
    return [*generated.values(), *filters, *ends, options], memory_file(memory, marshal.dumps(plan)).fileno()


async def _place(process: Process, cgroup: Cgroup | None, placed: BinaryIO) -> None:
    """Move the launcher into a control group while it starts, and let it continue. The kernel takes some 10 ms for it.

    Raises:
        SandboxFailed: The control group cannot be made; the launcher ends.
    """
    if cgroup is not None:
        try:
            await asyncio.to_thread(cgroup.create, process.pid)
        except OSError as error:
            process.kill()
            await process.wait()
            raise SandboxFailed(f"the sandbox's control group {cgroup.directory} cannot be made: {error}") from error
    with contextlib.suppress(BrokenPipeError):  # the launcher has died, which the next step reports
        placed.write(b"!")


async def _release(pipes: _Pipes, namespace: _Namespace) -> None:
    """Make the launcher limit and release the sandbox's first process.

    Raises:
        SandboxFailed: The process could not be limited, and was killed.
    """
    with contextlib.suppress(BrokenPipeError):  # the launcher has died, so its answer is empty
        pipes.requests.writing.write(str(namespace.pid).encode())
    answer = await _read_to_end(pipes.answers.reading)
    if answer != b"!":
        namespace.kill()
        if not answer:
            raise Inconclusive("bubblewrap: the launcher has died")
        reason = answer.decode("utf-8", "replace")
        raise SandboxFailed(f"bubblewrap: the sandbox's limits could not be set: {reason}")


class _Namespace:
    """The first process of a process namespace. When it dies, the kernel kills all others in the namespace.

    Killing bubblewrap itself is not enough: during its set-up the processes inside would survive it.
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
            sys.executable, "-I", "-S", str(LAUNCHER), str(plan),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=stderr,
            env={},
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal reaches only the host, which then sends SIGTERM
            pass_fds=[plan, *inherited],
        )  # fmt: skip
    except OSError as error:
        raise Inconclusive(f"bubblewrap could not be started: {error}") from error


async def _namespace(process: Process, info: BinaryIO, stderr: BinaryIO) -> _Namespace:
    """Wait until bubblewrap reports the namespace, and return it."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), info
    )
    try:
        return _Namespace(int(json.loads(await reader.readuntil(b"}"))["child-pid"]))
    except (asyncio.IncompleteReadError, ProcessLookupError):
        code = await process.wait()
        if code < 0:
            raise Inconclusive(f"bubblewrap was killed by signal {-code}") from None
        message = stderr.read(4_000).decode("utf-8", "replace").strip()
        failure = Inconclusive if SHORTAGE.search(message) else SandboxFailed
        raise failure(f"bubblewrap: {message or 'ended at once'}") from None
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
    """Return the limits of each process of a sandbox, as pairs of resource and limit.

    The memory limit counts the private writable memory of one process. The address space would be no useful measure:
    JavaScript engines reserve far more of it than they use.
    """
    pairs = [(resource.RLIMIT_DATA, limits.memory_bytes), (resource.RLIMIT_CORE, 0)]
    return pairs + ([(resource.RLIMIT_NPROC, limits.pids)] if bubblewrap_command.counts_processes_per_sandbox() else [])
