"""Sandboxes in bubblewrap: their view of the host, their end, and a missing or forbidden bubblewrap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from nanoclaw_runtime_process.bubblewrap_command import Descriptors, Isolation, command, counts_processes_per_sandbox
from nanoclaw_runtime_process.interpreter import Interpreter, current_interpreter, outermost

from nanoclaw_core import Mount, Network, SandboxRefused
from nanoclaw_core.testing.runtime_place import new_place
from nanoclaw_core.testing.runtime_programs import CONNECT, WAIT_FOR_SIGTERM
from nanoclaw_core.testing.runtime_scenario import connected, patiently, run, started

PLUGIN = "nanoclaw_runtime_process.host"
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Create a directory that every user of the machine may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # $TMPDIR may be closed to others
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.bubblewrap
def test_sandbox_sees_no_checkout_home_or_private_keys(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    paths = [
        str(CHECKOUT / "pyproject.toml"),
        str(Path.home() / ".bashrc"),
        "/etc/ssl/private",
        "/etc/shadow",
        str(Path.home() / ".ssh"),
    ]
    run(place, f"answer([path for path in {paths!r} if os.path.exists(path)])")
    assert place.answer() == []


@pytest.mark.bubblewrap
def test_sandbox_can_import_runner_and_wire(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    run(place, "import nanoclaw_runner, nanoclaw_wire; answer(nanoclaw_runner.__name__)")
    assert place.answer() == "nanoclaw_runner"


@pytest.mark.bubblewrap
def test_open_network_reaches_the_machine(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = ("127.0.0.1", server.getsockname()[1])
        run(place, spec=evolve(place.spec(CONNECT.format([address])), network=Network.OPEN))
    assert place.answer() == [list(address)]


@pytest.mark.bubblewrap
def test_nested_mount_is_seen(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    inner = tmp_path / "inner"
    inner.mkdir()
    (place.incoming / "inner").mkdir()
    (inner / "note").write_text("inside")
    spec = place.spec("answer(open('/workspace/in/inner/note').read())")
    run(place, spec=evolve(spec, mounts=(Mount(source=inner, target="/workspace/in/inner"), *spec.mounts)))
    assert place.answer() == "inside"


@pytest.mark.bubblewrap
def test_stop_ends_a_sandbox_of_suspended_processes(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})

    async def scenario() -> int:
        before = _descendants(os.getpid())
        async with connected(place) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            suspended = _descendants(os.getpid()) - before
            for process_id in suspended:
                os.kill(process_id, signal.SIGSTOP)
            await sandbox.stop(0.1)
            code = (await sandbox.wait()).code
            for process_id in suspended:  # the launcher's own process survives the sandbox
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGCONT)
            return code

    assert patiently(scenario()) != 0


def _descendants(process_id: int) -> set[int]:
    """Return the ids of a process's descendants."""
    children = [
        int(pid) for path in Path(f"/proc/{process_id}/task").glob("*/children") for pid in path.read_text().split()
    ]
    return {pid for child in children for pid in (child, *_descendants(child))}


@pytest.mark.bubblewrap
def test_close_stops_running_sandboxes(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})

    async def scenario() -> int:
        async with connected(place) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
        return (await sandbox.wait()).code

    assert patiently(scenario()) != 0


def test_environment_values_are_in_no_command_line(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    spec = evolve(place.spec(""), environment={"NAME": "value-for-the-inside"})
    interpreter = Interpreter(executable=Path("/usr/bin/python3"), directories=(), packages=())
    names = {mount.source: f"/mnt/{number}" for number, mount in enumerate(spec.mounts)}
    isolation = Isolation(temporary_bytes=2**20)
    arguments = command(spec, interpreter, Descriptors(generated={}, info=4, release=5), isolation, names)
    assert arguments.index("value-for-the-inside") < arguments.index("--"), "options go through a descriptor"


def test_forbidden_bubblewrap_is_reported_with_a_remedy(tmp_path: Path, open_directory: Path) -> None:
    broken = open_directory / "broken-bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    place = new_place(tmp_path, PLUGIN, {"bubblewrap": str(broken)})

    async def scenario() -> None:
        async with connected(place) as runtime:
            readiness = await runtime.check()
            assert (readiness.ready, readiness.isolates) == (True, False)
            assert "setting up uid map: Permission denied" in readiness.detail
            assert "Allow user namespaces" in readiness.remedy
            assert "Install bubblewrap" not in readiness.remedy
            offers = r"allow_unsandboxed = true under \[plugins.process\]" if os.getuid() else "CAP_SETUID"
            with pytest.raises(SandboxRefused, match=offers):
                await runtime.start(evolve(place.spec("pass"), runs_tools=True))

    patiently(scenario())


def test_tools_run_unconfined_if_the_operator_allows_it(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"bubblewrap": "no-such-bubblewrap", "allow_unsandboxed": True})
    run(place, spec=evolve(place.spec("answer('ran')"), runs_tools=True))
    assert place.answer() == "ran"


def test_interpreter_has_no_directory_twice_and_no_checkout() -> None:
    interpreter = current_interpreter()
    assert interpreter.executable.exists()
    assert outermost(interpreter.directories) == interpreter.directories
    assert all(not CHECKOUT.is_relative_to(directory) for directory in interpreter.directories)


def test_outermost_leaves_out_directories_below_others() -> None:
    given = [Path("/opt/env/lib/package"), Path("/usr/lib/python3"), Path("/opt/env"), Path("/srv/source")]
    assert outermost(given) == (Path("/opt/env"), Path("/srv/source"))


@pytest.mark.parametrize(
    ("release", "expected"), [("5.13.0", False), ("5.14.2-amd64", True), ("6.1", True), ("odd", False)]
)
def test_process_limit_depends_on_the_kernel_version(release: str, expected: bool) -> None:
    assert counts_processes_per_sandbox(release) is expected


@pytest.mark.bubblewrap
def test_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})

    async def scenario() -> None:
        async with connected(place) as runtime:
            await runtime.check()
            starting = asyncio.create_task(runtime.start(place.spec("import time; time.sleep(600)")))
            await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting

    patiently(scenario())
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if place.name.encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return os.fsencode("")


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_interpreter_path_with_dots_is_normalised() -> None:
    program = Path(sys.executable)
    dotted = program.parent / ".." / program.parent.name / program.name
    code = "from nanoclaw_runtime_process import interpreter; print(interpreter.current_interpreter().executable)"
    done = subprocess.run([dotted, "-c", code], capture_output=True, text=True, check=True)
    assert ".." not in Path(done.stdout.strip()).parts
