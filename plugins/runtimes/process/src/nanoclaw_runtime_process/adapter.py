"""The process runtime: it runs each sandbox as a process, in bubblewrap if that works.

A sandbox never outlives the host. bubblewrap dies with the thread that started it, so it is started on the event loop's
own thread and never on a pool's. An unconfined process has a parent watchdog.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import re
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from attrs import evolve
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core import (
    PluginContext,
    Readiness,
    SandboxFailed,
    SandboxRefused,
    SandboxRequirements,
    SandboxSpec,
    hold_mounts,
)
from nanoclaw_core import Sandbox as SandboxProtocol
from nanoclaw_runtime_process import bubblewrap_command, unconfined
from nanoclaw_runtime_process.bubblewrap_command import Isolation, call_filter
from nanoclaw_runtime_process.bubblewrap_sandbox import Inconclusive, start_in_bubblewrap
from nanoclaw_runtime_process.cgroup import Cgroup
from nanoclaw_runtime_process.interpreter import Interpreter, compile_packages, current_interpreter
from nanoclaw_runtime_process.pipes import pipe
from nanoclaw_runtime_process.probe import probe_of
from nanoclaw_runtime_process.registry import ProcessRegistry
from nanoclaw_runtime_process.sandbox import ProcessSandbox
from nanoclaw_runtime_process.sandbox_limits import SandboxLimits
from nanoclaw_runtime_process.sandbox_user import NoUser, keep_user, name_of, sandbox_user
from nanoclaw_runtime_process.settings import Settings

log = logging.getLogger("nanoclaw.process")

PROBE_S = 8.0
DISCARD_S = 1.0  # the processes die with the host anyway
PROBE_TRIES = 3
UNKNOWN_OPTION = "--disable-userns"  # named in the error of a bubblewrap before 0.8, or of one with the setuid bit
INSTALL = "Install bubblewrap (Debian and Ubuntu: apt install bubblewrap) or Docker"
ALLOW = (
    "Allow user namespaces (Ubuntu: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; elsewhere check"
    " kernel.unprivileged_userns_clone and user.max_user_namespaces), or install Docker"
)
NO_PROGRAM = "program not found:"
AS_ROOT = "A host that runs as root also needs the capabilities CAP_SETUID, CAP_SETGID, CAP_CHOWN and CAP_KILL"
USER_REMEDY = "Correct or remove run_as under [plugins.process], and restart the host"
ALLOW_UNSANDBOXED = "or set allow_unsandboxed = true under [plugins.process] to give agents all rights of your user."
# Matches the errors of bwrap if the system forbids namespaces.
_NAMESPACES_FORBIDDEN = re.compile(r"namespace|uid map|not permitted|permission denied", re.IGNORECASE)


class ProcessRuntime:
    """Runs sandboxes as processes of this machine."""

    def __init__(self, settings: Settings, context: PluginContext, requirements: Sequence[SandboxRequirements]) -> None:
        self._settings, self._context = settings, context
        self._plugin_variables = {name: value for need in requirements for name, value in need.environment.items()}
        self._registry = ProcessRegistry(context.data_dir / "running")
        self._kept_user = context.data_dir / "run_as"
        self._running: dict[str, ProcessSandbox | None] = {}  # by name; None while the sandbox starts
        self._discarding = TaskSet()
        self._interpreter: Interpreter | None = None
        self._isolation = Isolation(temporary_bytes=settings.temporary_bytes, call_filter=call_filter())
        self._limits = SandboxLimits(context)
        self._problem: str | None = None
        self._is_probed = self._has_no_user = False
        self._probe_lock, self._user_lock = asyncio.Lock(), asyncio.Lock()

    async def check(self) -> Readiness:
        """Run a sandbox that tests its isolation, and report the result."""
        try:
            problem = await self._probe(again=True)
        except SandboxFailed as error:
            remedy = "Run `ncl doctor` again when the machine has memory and time to spare"
            return Readiness(ready=False, isolates=False, detail=str(error), remedy=remedy)
        if problem is None:
            missing_limits = await self._limits.missing()
            return Readiness(
                ready=True,
                isolates=True,
                detail=_protections(self._isolation, limits_all=not missing_limits),
                missing_protections=[*_missing_protections(self._isolation, self._settings), *missing_limits],
            )
        if self._has_no_user:
            return Readiness(ready=False, isolates=False, detail=problem, remedy=USER_REMEDY)
        return Readiness(
            ready=True,
            isolates=False,
            detail=f"processes without isolation: {problem}",
            remedy=_remedy(problem),
            takes_tools_unisolated=self._settings.allow_unsandboxed,
        )

    async def shown_directories(self) -> Sequence[Path]:
        """Return /usr, the interpreter and parts of /etc. Empty without bubblewrap: every process sees all files."""
        return bubblewrap_command.shown_directories(await self._python()) if await self._probe() is None else ()

    async def start(self, spec: SandboxSpec) -> SandboxProtocol:
        """Start a sandbox in bubblewrap, or unconfined if that is allowed."""
        starting = asyncio.create_task(self._start(spec))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The start itself cannot be cancelled, so the sandbox is stopped after it.
            self._discarding.spawn(_discard(starting))
            raise

    async def reap(self) -> int:
        """Kill the processes of an earlier host and return their number. Normally they died with that host."""
        ended = await asyncio.to_thread(self._registry.end_leftovers)
        await self._limits.remove_leftovers()
        return ended

    async def close(self) -> None:
        """Stop the running sandboxes. They would die with this process, and no other process could stop them."""
        running = [sandbox for sandbox in self._running.values() if sandbox is not None]
        await asyncio.gather(self._discarding.wait(DISCARD_S), *(sandbox.stop(0) for sandbox in running))
        await self._discarding.wait(DISCARD_S)  # the control groups of the stopped sandboxes

    async def _start(self, spec: SandboxSpec) -> ProcessSandbox:
        with self._reserved(spec.name):
            spec = evolve(spec, environment={**self._plugin_variables, **spec.environment})
            problem = await self._probe()
            if self._has_no_user:  # an unconfined process of a root host would be root, against the setting
                raise SandboxRefused(f"{problem}. {USER_REMEDY}")
            if problem is not None and spec.runs_tools and not self._settings.allow_unsandboxed:
                raise SandboxRefused(f"nothing can isolate the agent: {problem}. {_remedy(problem)}")
            if spec.image:
                log.warning(
                    "packages of the agent group are not in the sandbox, processes have no image",
                    extra={"session": spec.session_id, "image": spec.image},
                )
            sandbox = await (self._start_in_bubblewrap(spec) if problem is None else self._start_unconfined(spec))
            self._running[spec.name] = sandbox
        log.info("sandbox started", extra={"session": spec.session_id, "sandbox": spec.name, "pid": sandbox.pid})
        return sandbox

    @contextlib.contextmanager
    def _reserved(self, name: str) -> Iterator[None]:
        """Reserve a name while a sandbox starts, and release it if the start fails."""
        if name in self._running:
            raise SandboxFailed(f"a sandbox named {name!r} is still running; try again after its end")
        self._running[name] = None
        try:
            yield
        finally:
            if self._running.get(name) is None:
                self._running.pop(name, None)

    async def _start_in_bubblewrap(self, spec: SandboxSpec) -> ProcessSandbox:
        program = self._bubblewrap()
        assert program is not None  # the probe found it
        if self._isolation.user_id is not None and self._settings.run_as is None:
            async with self._user_lock:  # sandboxes that start at the same time write the same file
                await asyncio.to_thread(keep_user, self._kept_user, self._isolation.user_id)
        python, cgroup = await self._python(), await self._limits.cgroup(spec)
        ended = partial(self._forget, spec.name, cgroup)
        try:
            return await start_in_bubblewrap(
                program, spec, python, self._isolation, self._registry, cgroup=cgroup, on_end=ended
            )
        except BaseException:  # raised again below
            self._forget(spec.name, cgroup)
            raise

    def _forget(self, name: str, cgroup: Cgroup | None) -> None:
        self._running.pop(name, None)
        if cgroup is not None:
            self._discarding.spawn(self._limits.remove(cgroup))

    async def _start_unconfined(self, spec: SandboxSpec) -> ProcessSandbox:
        path = self._context.environment.get("PATH", os.defpath)
        variables = unconfined.environment(spec, {"PATH": path, "HOME": str(self._context.data_dir)})
        self._context.data_dir.mkdir(parents=True, exist_ok=True)
        with hold_mounts(spec.mounts), contextlib.ExitStack() as files:
            watched, stderr = pipe(files), pipe(files)
            try:
                process = await asyncio.create_subprocess_exec(
                    *unconfined.command(spec),
                    stdin=watched.reading,
                    stdout=DEVNULL,
                    stderr=stderr.writing,
                    env=variables,
                    cwd="/",
                    start_new_session=True,  # Ctrl-C in the terminal reaches only the host, which then sends SIGTERM
                )
            except OSError as error:
                raise SandboxFailed(f"the sandbox's process could not be started: {error}") from error
            self._registry.record(spec.name, process.pid)
            watched.reading.close()
            stderr.writing.close()
            files.pop_all()  # the sandbox closes the other ends

        def forget() -> None:
            watched.writing.close()
            self._running.pop(spec.name, None)
            self._registry.forget(process.pid)

        return ProcessSandbox(
            process,
            stderr.reading,
            pid=process.pid,
            terminate=process.terminate,
            kill=watched.writing.close,
            on_end=forget,
        )

    async def _probe(self, *, again: bool = False) -> str | None:
        """Return the reason why bubblewrap does not work, or None if it works. Test it once unless `again` is True."""
        async with self._probe_lock:
            if self._is_probed and not again:
                return self._problem
            previous, self._problem = self._problem, await self._try_bubblewrap()
            self._is_probed = True
            if self._problem is not None and self._problem != previous:
                log.warning("sandboxes are not isolated", extra={"reason": self._problem})
            return self._problem

    async def _try_bubblewrap(self) -> str | None:
        program = self._bubblewrap()
        if program is None:
            return f"{NO_PROGRAM} {self._settings.bubblewrap!r}"
        try:
            run_as, instance_id = self._settings.run_as, self._context.instance_id
            user_id = await asyncio.to_thread(sandbox_user, run_as, self._kept_user, instance_id)
        except (NoUser, OSError) as error:
            self._has_no_user = True
            return str(error)
        self._has_no_user = False
        self._isolation = evolve(self._isolation, user_id=user_id, forbids_namespaces=True)
        problem = await self._conclusive_probe(program)
        if UNKNOWN_OPTION in problem:
            self._isolation = evolve(self._isolation, forbids_namespaces=False)
            problem = await self._conclusive_probe(program)
        return f"bubblewrap does not work here: {problem}" if problem else None

    async def _conclusive_probe(self, program: str) -> str:
        """Repeat the test until it ends by itself.

        Raises:
            SandboxFailed: It was killed or met a shortage each time, or took too long. Isolation is unknown, so no
                sandbox may start.
        """
        for _ in range(PROBE_TRIES):
            try:
                return await self._run_probe(program)
            except Inconclusive as error:
                reason = str(error)
        raise SandboxFailed(f"the test of bubblewrap did not end, so no sandbox starts: {reason}")

    async def _run_probe(self, program: str) -> str:
        """Test the isolation from inside; return the problem, or an empty string.

        Raises:
            Inconclusive: The test was killed, or the machine had no room for it.
            SandboxFailed: It took longer than `PROBE_S`.
        """
        probe = probe_of(self._isolation)
        try:
            async with asyncio.timeout(PROBE_S):
                python = await self._python()
                sandbox = await start_in_bubblewrap(program, probe, python, self._isolation, registry=None)
                with contextlib.suppress(ProcessLookupError):  # it has ended already
                    os.kill(sandbox.pid, 0)  # no signal, only a check: without CAP_KILL a root host could not kill it
                ended = await sandbox.wait()
        except PermissionError:
            return "this host may not kill the processes of its sandboxes"
        except TimeoutError as error:
            raise SandboxFailed(f"the test of bubblewrap took longer than {PROBE_S:.0f} s") from error
        except Inconclusive:
            raise
        except (SandboxFailed, SandboxRefused) as error:
            return str(error)
        if ended.code < 0:
            raise Inconclusive(f"it was killed by signal {-ended.code}")
        return "" if ended.code == 0 else ended.stderr_tail.strip()[-300:] or f"exit status {ended.code}"

    async def _python(self) -> Interpreter:
        if self._interpreter is None:
            self._interpreter = await asyncio.to_thread(current_interpreter)
            await asyncio.to_thread(compile_packages, self._interpreter.packages)
        return self._interpreter

    def _bubblewrap(self) -> str | None:
        return shutil.which(self._settings.bubblewrap, path=self._context.environment.get("PATH", os.defpath))


async def _discard(starting: asyncio.Task[ProcessSandbox]) -> None:
    """Stop a sandbox as soon as its cancelled start is finished."""
    await asyncio.wait([starting])
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().stop(0)


def _protections(isolation: Isolation, *, limits_all: bool) -> str:
    protections = ["bubblewrap isolates files, processes and network", "/proc is read-only"]
    protections += ["no user namespaces inside"] if isolation.forbids_namespaces else []
    protections += ["system calls are filtered", "no kernel keys of the host"] if isolation.call_filter else []
    protections += ["memory, processor time and processes are limited together"] if limits_all else []
    protections += [f"sandboxes run as user {isolation.user_id} of the host"] if isolation.user_id is not None else []
    return ", ".join(protections)


def _missing_protections(isolation: Isolation, settings: Settings) -> list[str]:
    missing = []
    if not isolation.forbids_namespaces:
        missing.append("a sandbox can create user namespaces; upgrade bubblewrap to 0.8 or later, which forbids that")
    if isolation.call_filter is None:
        missing.append(
            f"no filter on system calls exists for the processor {platform.machine()}, so that a sandbox reaches all of"
            " the kernel, with the kernel keys of the host's login; use the docker runtime"
        )
    if settings.run_as is not None and (name := name_of(settings.run_as)):
        missing.append(
            f"run_as is the user {name} of this machine, and a sandbox could reach that user's files;"
            " choose a free number"
        )
    return missing


def _remedy(problem: str) -> str:
    if os.getuid() == 0:  # allow_unsandboxed is no remedy: agents would be root
        return INSTALL if NO_PROGRAM in problem else f"{ALLOW}. {AS_ROOT}"
    return f"{ALLOW if _NAMESPACES_FORBIDDEN.search(problem) else INSTALL}, {ALLOW_UNSANDBOXED}"
