"""The running half of the process runtime.

A sandbox lives no longer than the host: bubblewrap dies with the thread that started it (so it is started on the event
loop's own thread, never on a pool's), and a plain process is on a leash.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from attrs import evolve

from nanoclaw_core import (
    Limits,
    Network,
    PluginContext,
    Readiness,
    SandboxFailed,
    SandboxPart,
    SandboxRefused,
    SandboxSpec,
    hold_mounts,
)
from nanoclaw_core import Sandbox as SandboxProtocol
from nanoclaw_runtime_process import bubblewrap, plain
from nanoclaw_runtime_process.bubblewrap import Walls
from nanoclaw_runtime_process.confined import start_confined
from nanoclaw_runtime_process.interpreter import Interpreter, compile_packages, this_interpreter
from nanoclaw_runtime_process.pipes import pipe
from nanoclaw_runtime_process.registry import Registry
from nanoclaw_runtime_process.sandbox import ProcessSandbox
from nanoclaw_runtime_process.sandbox_user import NoUser, keep_user, name_of, sandbox_user
from nanoclaw_runtime_process.settings import Settings

log = logging.getLogger("nanoclaw.process")

PROBE_S = 8.0
NO_SUCH_OPTION = "--disable-userns"  # how a bubblewrap before 0.8, or one with the setuid bit, begins its refusal
INSTALL = "Install bubblewrap (Debian and Ubuntu: apt install bubblewrap) or Docker"
ALLOW = (
    "Allow user namespaces (Ubuntu: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; elsewhere look at"
    " kernel.unprivileged_userns_clone and user.max_user_namespaces), or install Docker"
)
NO_PROGRAM = "there is no program"
AS_ROOT = "A host that is root needs the capabilities CAP_SETUID, CAP_SETGID, CAP_CHOWN and CAP_KILL, too"
NO_USER_REMEDY = "Correct or remove run_as under [plugins.process], and restart the host"
DO_WITHOUT = "or set allow_unsandboxed = true under [plugins.process] if agents may do whatever you may do."
_FORBIDDEN = re.compile(r"namespace|uid map|not permitted|permission denied", re.IGNORECASE)  # what bwrap says


class ProcessRuntime:
    """Makes sandboxes out of processes."""

    def __init__(self, settings: Settings, context: PluginContext, parts: Sequence[SandboxPart]) -> None:
        self._settings, self._context = settings, context
        self._part_variables = {name: value for part in parts for name, value in part.environment.items()}
        self._registry = Registry(context.data_dir / "running")
        self._kept_user = context.data_dir / "run_as"
        self._running: dict[str, ProcessSandbox | None] = {}  # None while it is being made
        self._discarding: set[asyncio.Task[None]] = set()
        self._interpreter: Interpreter | None = None
        self._walls = Walls(temporary_bytes=settings.temporary_bytes)
        self._trouble: str | None = None
        self._is_probed = self._has_no_user = False
        self._probe_lock, self._user_lock = asyncio.Lock(), asyncio.Lock()

    async def check(self) -> Readiness:
        """Run a sandbox that tries its walls, and report the result."""
        trouble = await self._probe(again=True)
        if trouble is None:
            return Readiness(
                ready=True,
                isolates=True,
                detail=_protections(self._walls),
                missing_protections=_missing_protections(self._walls, self._settings),
            )
        if self._has_no_user:
            return Readiness(ready=False, isolates=False, detail=trouble, remedy=NO_USER_REMEDY)
        return Readiness(
            ready=True,
            isolates=False,
            detail=f"plain processes without isolation: {trouble}",
            remedy=_remedy(trouble),
            takes_tools_unisolated=self._settings.allow_unsandboxed,
        )

    async def shown_directories(self) -> Sequence[Path]:
        """Return /usr, the interpreter and parts of /etc; a plain process sees everything, and hides nothing."""
        return bubblewrap.shown_directories(await self._python()) if await self._probe() is None else ()

    async def start(self, spec: SandboxSpec) -> SandboxProtocol:
        """Start it in bubblewrap, or plainly where that is allowed."""
        making = asyncio.create_task(self._make(spec))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._discard(making)  # a process that is being started cannot be called off: it is ended once it is there
            raise

    async def reap(self) -> int:
        """Kill what an earlier host left; as a rule everything died with it."""
        return await asyncio.to_thread(self._registry.end_leftovers)

    async def close(self) -> None:
        """End what still runs: it could not outlive this process anyway, and nobody else could ever stop it."""
        running = [sandbox for sandbox in self._running.values() if sandbox is not None]
        await asyncio.gather(*self._discarding, *(sandbox.stop(0) for sandbox in running))

    async def _make(self, spec: SandboxSpec) -> ProcessSandbox:
        with self._claimed(spec.name):
            spec = evolve(spec, environment={**self._part_variables, **spec.environment})
            trouble = await self._probe()
            if self._has_no_user:  # a plain process of a root host would be root: that is not what was asked for
                raise SandboxRefused(f"{trouble}. {NO_USER_REMEDY}")
            if trouble is not None and spec.runs_tools and not self._settings.allow_unsandboxed:
                raise SandboxRefused(f"nothing can isolate the agent: {trouble}. {_remedy(trouble)}")
            if spec.image:
                log.warning(
                    "packages of the agent group are not in the sandbox, processes have no image",
                    extra={"session": spec.session_id, "image": spec.image},
                )
            sandbox = await (self._start_confined(spec) if trouble is None else self._start_plain(spec))
            self._running[spec.name] = sandbox
        log.info("sandbox started", extra={"session": spec.session_id, "sandbox": spec.name, "pid": sandbox.pid})
        return sandbox

    def _discard(self, making: asyncio.Task[ProcessSandbox]) -> None:
        async def discard() -> None:
            await asyncio.wait([making])
            if not making.cancelled() and making.exception() is None:
                await making.result().stop(0)

        task = asyncio.create_task(discard())
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    @contextlib.contextmanager
    def _claimed(self, name: str) -> Iterator[None]:
        """Hold a name while a sandbox is made, and give it back if none was made."""
        if name in self._running:
            raise SandboxFailed(f"a sandbox named {name!r} is still running; try again after its end")
        self._running[name] = None
        try:
            yield
        finally:
            if self._running.get(name) is None:
                self._running.pop(name, None)

    async def _start_confined(self, spec: SandboxSpec) -> ProcessSandbox:
        program = self._bubblewrap()
        assert program is not None  # the probe that chose this way found it
        if self._walls.user_id is not None and self._settings.run_as is None:
            async with self._user_lock:  # sandboxes that start side by side write one file
                await asyncio.to_thread(keep_user, self._kept_user, self._walls.user_id)
        ended = partial(self._running.pop, spec.name, None)
        return await start_confined(program, spec, await self._python(), self._walls, self._registry, ended)

    async def _start_plain(self, spec: SandboxSpec) -> ProcessSandbox:
        path = self._context.environment.get("PATH", os.defpath)
        variables = plain.environment(spec, {"PATH": path, "HOME": str(self._context.data_dir)})
        self._context.data_dir.mkdir(parents=True, exist_ok=True)
        with hold_mounts(spec.mounts), contextlib.ExitStack() as files:
            (leash_inside, leash), (said, words_inside) = pipe(files), pipe(files)
            try:
                process = await asyncio.create_subprocess_exec(
                    *plain.command(spec),
                    stdin=leash_inside,
                    stdout=DEVNULL,
                    stderr=words_inside,
                    env=variables,
                    cwd="/",
                    start_new_session=True,  # ctrl-c in the host's terminal is for the host, which then asks politely
                )
            except OSError as error:
                raise SandboxFailed(f"the sandbox's process could not be started: {error}") from error
            self._registry.record(spec.name, process.pid)
            leash_inside.close()
            words_inside.close()
            files.pop_all()  # from here on the sandbox has them

        def forget() -> None:
            leash.close()
            self._running.pop(spec.name, None)
            self._registry.forget(process.pid)

        return ProcessSandbox(process, said, pid=process.pid, ask=process.terminate, end=leash.close, on_end=forget)

    async def _probe(self, *, again: bool = False) -> str | None:
        """Return why bubblewrap cannot be used, or None where it can. Asked once, and again by every `check`."""
        async with self._probe_lock:
            if self._is_probed and not again:
                return self._trouble
            before, self._trouble = self._trouble, await self._try_bubblewrap()
            self._is_probed = True
            if self._trouble is not None and self._trouble != before:
                log.warning("sandboxes are not isolated", extra={"reason": self._trouble})
            return self._trouble

    async def _try_bubblewrap(self) -> str | None:
        program = self._bubblewrap()
        if program is None:
            return f"{NO_PROGRAM} {self._settings.bubblewrap!r}"
        try:
            choice = (self._settings.run_as, self._kept_user, self._context.instance_id)
            user_id = await asyncio.to_thread(sandbox_user, *choice)
        except (NoUser, OSError) as error:
            self._has_no_user = True
            return str(error)
        self._has_no_user = False
        self._walls = evolve(self._walls, user_id=user_id, forbids_namespaces=True)
        trouble = await self._run_probe(program)
        if NO_SUCH_OPTION in trouble:
            self._walls = evolve(self._walls, forbids_namespaces=False)
            trouble = await self._run_probe(program)
        return f"bubblewrap does not work here: {trouble}" if trouble else None

    async def _run_probe(self, program: str) -> str:
        """Try the walls from inside; return the trouble, or an empty text."""
        words = "forbids" if self._walls.forbids_namespaces else "allows"
        probe = evolve(PROBE, arguments=(*PROBE.arguments, words))
        try:
            async with asyncio.timeout(PROBE_S):
                sandbox = await start_confined(program, probe, await self._python(), self._walls, registry=None)
                with contextlib.suppress(ProcessLookupError):  # it ended already
                    os.kill(sandbox.pid, 0)  # sends nothing: a host without CAP_KILL could start what it cannot end
                ended = await sandbox.wait()
        except PermissionError:
            return "this host may not end the processes of its sandboxes"
        except TimeoutError:
            return f"no answer in {PROBE_S:.0f} s"
        except (SandboxFailed, SandboxRefused) as error:
            return str(error)
        return "" if ended.code == 0 else ended.last_words.strip()[-300:] or f"exit status {ended.code}"

    async def _python(self) -> Interpreter:
        if self._interpreter is None:
            self._interpreter = await asyncio.to_thread(this_interpreter)
            await asyncio.to_thread(compile_packages, self._interpreter.packages)
        return self._interpreter

    def _bubblewrap(self) -> str | None:
        return shutil.which(self._settings.bubblewrap, path=self._context.environment.get("PATH", os.defpath))


# Fails, with the reason on its error output, if a wall does not hold that this bubblewrap should have raised.
_TRY_WALLS = """
import ctypes, os, sqlite3, sys
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/domainname", "/proc/self/oom_score_adj"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        sys.exit(f"{path} can be written in the sandbox")
    except OSError:
        pass
if sys.argv[1:] == ["forbids"] and ctypes.CDLL(None).unshare(0x10000000) == 0:
    sys.exit("the sandbox can make user namespaces")
"""
PROBE = SandboxSpec(
    session_id="",  # type: ignore[arg-type]  # no session: an empty sandbox that ends at once
    name="probe",
    arguments=("-c", _TRY_WALLS),
    mounts=(),
    environment={},
    runs_tools=True,
    network=Network.NONE,
    limits=Limits(),
)


def _protections(walls: Walls) -> str:
    found = ["bubblewrap isolates files, processes and network", "/proc is read-only"]
    found += ["no user namespaces inside"] if walls.forbids_namespaces else []
    found += [f"sandboxes run as user {walls.user_id} of the host"] if walls.user_id is not None else []
    return ", ".join(found)


def _missing_protections(walls: Walls, settings: Settings) -> list[str]:
    found = []
    if not walls.forbids_namespaces:
        found.append(
            "a sandbox can make user namespaces of its own; bubblewrap 0.8 or later forbids that, so upgrade it"
        )
    if settings.run_as is not None and (name := name_of(settings.run_as)):
        found.append(
            f"run_as is the user {name} of this machine, whose files a sandbox could reach; choose a free number"
        )
    return found


def _remedy(trouble: str) -> str:
    if os.getuid() == 0:  # nothing unsandboxed is offered: it would be root
        return INSTALL if NO_PROGRAM in trouble else f"{ALLOW}. {AS_ROOT}"
    return f"{ALLOW if _FORBIDDEN.search(trouble) else INSTALL}, {DO_WITHOUT}"
