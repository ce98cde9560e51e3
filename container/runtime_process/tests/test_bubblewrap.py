"""What a sandbox in bubblewrap sees and reaches, and what happens where bubblewrap is not."""

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
    """Make a directory that every user of the machine may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # $TMPDIR may be closed to others
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.bubblewrap
def test_neither_the_checkout_nor_the_home_nor_private_keys_can_be_seen(tmp_path: Path) -> None:
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
def test_the_runner_and_the_wire_can_be_imported(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    run(place, "import nanoclaw_runner, nanoclaw_wire; answer(nanoclaw_runner.__name__)")
    assert place.answer() == "nanoclaw_runner"


@pytest.mark.bubblewrap
def test_an_open_network_reaches_the_machine(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = ("127.0.0.1", server.getsockname()[1])
        run(place, spec=evolve(place.spec(CONNECT.format([address])), network=Network.OPEN))
    assert place.answer() == [list(address)]


@pytest.mark.bubblewrap
def test_a_mount_inside_a_mount_is_seen(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    inner = tmp_path / "inner"
    inner.mkdir()
    (place.incoming / "inner").mkdir()
    (inner / "note").write_text("inside")
    spec = place.spec("answer(open('/workspace/in/inner/note').read())")
    run(place, spec=evolve(spec, mounts=(Mount(source=inner, target="/workspace/in/inner"), *spec.mounts)))
    assert place.answer() == "inside"


@pytest.mark.bubblewrap
def test_a_sandbox_whose_processes_were_all_stopped_is_ended_nevertheless(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})

    async def scenario() -> int:
        before = _below(os.getpid())
        async with connected(place) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
            stopped = _below(os.getpid()) - before
            for process_id in stopped:
                os.kill(process_id, signal.SIGSTOP)
            await sandbox.stop(0.1)
            code = (await sandbox.wait()).code
            for process_id in stopped:  # the one beside the sandbox is not ended with it
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGCONT)
            return code

    assert patiently(scenario()) != 0


def _below(process_id: int) -> set[int]:
    """Return the processes that descend from one."""
    children = [
        int(pid) for path in Path(f"/proc/{process_id}/task").glob("*/children") for pid in path.read_text().split()
    ]
    return {found for child in children for found in (child, *_below(child))}


@pytest.mark.bubblewrap
def test_closing_the_runtime_ends_what_still_runs(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})

    async def scenario() -> int:
        async with connected(place) as runtime:
            sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
        return (await sandbox.wait()).code

    assert patiently(scenario()) != 0


def test_values_of_the_environment_are_not_in_the_command_line_of_any_process(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {})
    spec = evolve(place.spec(""), environment={"NAME": "value-for-the-inside"})
    interpreter = Interpreter(executable=Path("/usr/bin/python3"), directories=(), packages=())
    names = {mount.source: f"/mnt/{number}" for number, mount in enumerate(spec.mounts)}
    isolation = Isolation(temporary_bytes=2**20)
    words = command(spec, interpreter, Descriptors(made_up={}, info=4, release=5), isolation, names)
    assert words.index("value-for-the-inside") < words.index("--"), "what stands before -- goes through a descriptor"


def test_a_bubblewrap_that_may_not_work_is_named_with_its_own_words_and_what_to_allow(
    tmp_path: Path, open_directory: Path
) -> None:
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


def test_an_operator_can_allow_tools_without_isolation(tmp_path: Path) -> None:
    place = new_place(tmp_path, PLUGIN, {"bubblewrap": "no-such-bubblewrap", "allow_unsandboxed": True})
    run(place, spec=evolve(place.spec("answer('ran')"), runs_tools=True))
    assert place.answer() == "ran"


def test_the_interpreter_brings_its_prefixes_and_no_directory_twice() -> None:
    found = current_interpreter()
    assert found.executable.exists()
    assert not [
        one for one in found.directories for other in found.directories if one != other and one.is_relative_to(other)
    ]
    assert CHECKOUT not in found.directories
    assert all(not CHECKOUT.is_relative_to(directory) for directory in found.directories)


def test_directories_below_others_and_below_usr_are_left_out() -> None:
    given = [Path("/opt/env/lib/package"), Path("/usr/lib/python3"), Path("/opt/env"), Path("/srv/source")]
    assert outermost(given) == (Path("/opt/env"), Path("/srv/source"))


@pytest.mark.parametrize(
    ("release", "expected"), [("5.13.0", False), ("5.14.2-amd64", True), ("6.1", True), ("odd", False)]
)
def test_the_kernel_says_whether_it_counts_processes_per_sandbox(release: str, expected: bool) -> None:
    assert counts_processes_per_sandbox(release) is expected


@pytest.mark.bubblewrap
def test_a_start_that_is_called_off_leaves_nothing_behind(tmp_path: Path) -> None:
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
def test_a_python_that_was_called_by_a_path_with_dots_in_it_can_be_confined() -> None:
    program = Path(sys.executable)
    dotted = program.parent / ".." / program.parent.name / program.name
    look = "from nanoclaw_runtime_process.interpreter import current_interpreter; print(current_interpreter().executable)"
    done = subprocess.run([dotted, "-c", look], capture_output=True, text=True, check=True)
    assert ".." not in Path(done.stdout.strip()).parts
