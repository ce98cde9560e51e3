"""The tests that every runtime must pass.

Inherit from `RuntimeContract` and name your plugin. Pytest then runs the tests on your runtime:

    class TestPodman(RuntimeContract):
        plugin = "nanoclaw_runtime_podman.host"

        @pytest.fixture
        def settings(self):
            return {"image": "my-test-image"}

Class attributes declare the limits of a runtime, and a test checks each declaration.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import evolve

from nanoclaw_core.descriptors.sandboxes import DirectoryIdentity, Mount, Network
from nanoclaw_core.errors import SandboxFailed, SandboxRefused
from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_programs import (
    CHILD_THAT_STAYS,
    CONNECT,
    LOOK_FOR,
    MANY_PROCESSES,
    ORPHANS,
    READ_AND_WRITE,
    RING,
    SEE_PROCESS,
    STUBBORN,
    TEMPORARY,
    WAIT_FOR_SIGTERM,
    WHO_AM_I,
)
from nanoclaw_core.testing.runtime_scenario import (
    PATIENCE_S,
    answer_once,
    connected,
    killed_host,
    longest_pause,
    own_address,
    patiently,
    run,
    started,
    writes_on,
)


class RuntimeContract:
    """The tests of a runtime. The module's docstring shows how to inherit from it.

    Attributes:
        plugin: The module that offers the runtime.
        isolates: False if a sandbox can reach the host's files and processes.
        counts_memory_of_all: True if the memory limit applies to all processes of a sandbox together.
        counts_processes: False if the number of processes has no limit.
        own_variables: The variables that the runtime or its image adds to those of a `SandboxSpec`.
    """

    plugin: ClassVar[str]
    isolates: ClassVar[bool] = True
    counts_memory_of_all: ClassVar[bool] = True
    counts_processes: ClassVar[bool] = True
    own_variables: ClassVar[frozenset[str]] = frozenset({"HOME", "HOSTNAME", "LANG", "LC_CTYPE", "PATH", "PWD"})

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        """Return the plugin's table of nanoclaw.toml."""
        return {}

    @pytest.fixture
    def place(self, tmp_path: Path, settings: Mapping[str, Any]) -> Place:
        """Create an instance directory with one session."""
        return new_place(tmp_path, self.plugin, settings)

    # The end of a sandbox

    def test_exit_has_code_and_stderr_tail(self, place: Place) -> None:
        ended = run(place, "import sys; print('the last line', file=sys.stderr); sys.exit(7)")
        assert (ended.code, ended.reason) == (7, "exited")
        assert "the last line" in ended.stderr_tail

    def test_large_stderr_does_not_block_and_is_bounded(self, place: Place) -> None:
        ended = run(
            place,
            "import sys; [sys.stderr.write('x' * 99 + chr(10)) for _ in range(50_000)]; print('end', file=sys.stderr)",
        )
        assert ended.code == 0
        assert len(ended.stderr_tail) <= 4_000
        assert ended.stderr_tail.endswith("end\n")

    def test_program_that_cannot_start_reports_the_reason(self, place: Place) -> None:
        ended = run(place, arguments=("-m", "no_such_module"))
        assert ended.code == 1
        assert "no_such_module" in ended.stderr_tail

    def test_wait_can_be_concurrent_and_repeated(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                sandbox = await runtime.start(place.spec("raise SystemExit(4)"))
                first, second = await asyncio.gather(sandbox.wait(), sandbox.wait())
                assert first == second == await sandbox.wait()
                assert first.code == 4

        patiently(scenario())

    def test_cancelled_wait_leaves_other_waits(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
                cancelled, other = asyncio.create_task(sandbox.wait()), asyncio.create_task(sandbox.wait())
                await asyncio.sleep(0)
                cancelled.cancel()
                await sandbox.stop(PATIENCE_S)
                assert (await other).code == 3

        patiently(scenario())

    def test_stop_runs_the_signal_handler(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                sandbox = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
                await sandbox.stop(PATIENCE_S)
                assert ((await sandbox.wait()).code, (await sandbox.wait()).reason) == (3, "exited")

        patiently(scenario())
        assert place.answer() == "asked to leave"

    def test_stop_kills_after_the_grace_time(self, place: Place) -> None:
        async def scenario() -> float:
            async with connected(place) as runtime:
                sandbox = await started(runtime, place.spec(STUBBORN), place)
                began = time.monotonic()
                await sandbox.stop(0.5)
                took_s = time.monotonic() - began
                ended = await sandbox.wait()
                assert (ended.code, ended.reason) == (-signal.SIGKILL, "killed")
                return took_s

        assert 0.5 <= patiently(scenario()) < 10

    def test_stop_after_the_end_does_nothing(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                sandbox = await runtime.start(place.spec("pass"))
                await sandbox.wait()
                await sandbox.stop(1)
                await sandbox.stop(0)

        patiently(scenario())

    def test_exit_ends_child_processes(self, place: Place) -> None:
        run(place, CHILD_THAT_STAYS)
        assert not writes_on(place.outgoing / "alive")

    # Inputs

    def test_arguments_and_variables_arrive_unchanged(self, place: Place) -> None:
        arguments = ["two words", "", "'\"$HOME`\\", "line\nbreak", "grüße", "--flag"]
        variables = {"EMPTY": "", "SIGNS": "a=b 'c' \"d\" $e `f` \\", "LINES": "one\ntwo", "WORDS": "grüße"}
        spec = place.spec("import sys; answer([sys.argv[1:], dict(os.environ)])")
        spec = evolve(spec, arguments=(*spec.arguments, *arguments), environment={**spec.environment, **variables})
        run(place, spec=spec)
        seen_arguments, seen_variables = place.answer()
        assert arguments == seen_arguments
        assert variables == {name: seen_variables[name] for name in variables}
        assert set() == set(seen_variables) - set(spec.environment) - self.own_variables

    def test_key_of_host_environment_is_nowhere_inside(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        key = "sk-this-key-belongs-to-the-host"
        monkeypatch.setenv("NANOCLAW_CONTRACT_KEY", key)
        place = place.with_variable("NANOCLAW_CONTRACT_KEY", key)
        run(place, LOOK_FOR.format(key[::-1], "/proc" if self.isolates else "/proc/self"))
        assert place.answer() == []

    def test_inbound_is_read_only_and_outbound_is_writable(self, place: Place) -> None:
        (place.incoming / "letter").write_text("from the host")
        run(place, READ_AND_WRITE)
        read, written = place.answer()
        assert read == "from the host"
        assert ([] if self.isolates else ["letter", "new"]) == written
        assert (place.outgoing / "reply").read_text() == "from the sandbox"

    def test_unmounted_directory_is_not_visible(self, place: Place) -> None:
        elsewhere = place.home / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "secret").write_text("a secret")
        run(
            place, f"answer([os.path.exists({str(elsewhere)!r}), os.path.exists({str(Path.home() / '.')!r} + '/.ssh')])"
        )
        assert (not self.isolates) == place.answer()[0]

    def test_mount_of_another_directory_is_refused(self, place: Place) -> None:
        """The sandbox starts only if the mount is the directory that a person approved."""
        approved, other = place.home / "approved", place.home / "other"
        for directory in (approved, other):
            directory.mkdir()
        status = other.stat()
        identity = DirectoryIdentity(device=status.st_dev, inode=status.st_ino)
        mount = Mount(source=approved, target="/workspace/extra/x", identity=identity)

        async def scenario() -> None:
            async with connected(place) as runtime:
                spec = place.spec("pass")
                with pytest.raises(SandboxRefused, match="approved"):
                    await runtime.start(evolve(spec, mounts=(*spec.mounts, mount)))

        patiently(scenario())

    def test_host_socket_in_inbound_side_is_reachable(self, place: Place) -> None:
        with place.listening() as server:
            answered = threading.Thread(target=answer_once, args=(server,), daemon=True)
            answered.start()
            run(place, RING)
            answered.join(PATIENCE_S)
        assert place.answer() == "rung"

    # Isolation

    def test_check_reports_isolation(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                readiness = await runtime.check()
                assert readiness.ready, readiness
                assert self.isolates == readiness.isolates
                assert readiness.detail
                assert self.isolates or readiness.remedy

        patiently(scenario())

    def test_tools_are_refused_without_isolation(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                spec = evolve(place.spec("answer('ran')"), runs_tools=True)
                if self.isolates:
                    await (await runtime.start(spec)).wait()
                else:
                    with pytest.raises(SandboxRefused, match="install"):
                        await runtime.start(spec)

        patiently(scenario())
        assert self.isolates == (place.outgoing / "answer.json").exists()

    @pytest.mark.parametrize("network", [Network.GATEWAY, Network.NONE])
    def test_sandbox_has_no_network_even_to_the_host(self, place: Place, network: Network) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            addresses = [
                ("127.0.0.1", server.getsockname()[1]),
                (own_address(), server.getsockname()[1]),
                ("9.9.9.9", 53),
            ]
            run(place, spec=evolve(place.spec(CONNECT.format(addresses[: 3 if self.isolates else 1])), network=network))
        assert ([] if self.isolates else [list(addresses[0])]) == place.answer()

    def test_host_processes_are_not_visible(self, place: Place) -> None:
        run(place, SEE_PROCESS.format(os.getpid()))
        inside, directory = place.answer()
        if self.isolates:
            assert inside < 100
            assert str(Path.cwd()) != directory
        else:
            assert inside > 1

    def test_sandbox_does_not_run_as_root(self, place: Place) -> None:
        run(place, WHO_AM_I)
        if self.isolates:
            *ids, status = place.answer()
            assert 0 not in ids
            assert "CapEff:\t0000000000000000" in status
            assert "CapBnd:\t0000000000000000" in status
            assert "NoNewPrivs:\t1" in status
        else:
            assert os.getuid() == place.answer()[0]

    def test_root_is_read_only_except_temporary_directories(self, place: Place) -> None:
        run(place, TEMPORARY)
        assert {"/tmp": True, "home": True, "/": not self.isolates and os.getuid() == 0} == place.answer()

    def test_memory_is_limited(self, place: Place) -> None:
        spec = place.spec(
            "data = [bytearray(2**20) for _ in range(300)]; answer('took it all')", memory_bytes=128 * 2**20
        )
        ended = run(place, spec=spec)
        if not self.isolates:
            assert place.answer() == "took it all"
        else:
            assert not (place.outgoing / "answer.json").exists()
            assert ended.code != 0
            assert not self.counts_memory_of_all or ended.reason == "out of memory"

    def test_number_of_processes_is_limited(self, place: Place) -> None:
        run(place, spec=place.spec(MANY_PROCESSES, pids=40))
        assert (30 <= place.answer() <= 40) if self.counts_processes else (place.answer() == 60)

    def test_orphaned_processes_are_reaped(self, place: Place) -> None:
        run(place, ORPHANS)
        assert (place.answer() == 0) or not self.isolates

    # Several sandboxes

    def test_concurrent_starts_succeed(self, place: Place) -> None:
        async def scenario() -> list[int]:
            async with connected(place) as runtime:
                specs = [
                    place.spec(f"raise SystemExit({number})", name=f"{place.name}-{number}") for number in range(8)
                ]
                sandboxes = await asyncio.gather(*map(runtime.start, specs))
                return [ended.code for ended in await asyncio.gather(*(sandbox.wait() for sandbox in sandboxes))]

        assert list(range(8)) == patiently(scenario())

    def test_used_name_is_refused_until_the_end(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                first = await started(runtime, place.spec(WAIT_FOR_SIGTERM), place)
                with pytest.raises(SandboxFailed, match=place.name):
                    await runtime.start(place.spec("pass"))
                await first.stop(PATIENCE_S)
                assert (await first.wait()).code == 3
                assert (await (await runtime.start(place.spec("pass"))).wait()).code == 0

        patiently(scenario())

    def test_failed_start_leaves_nothing(self, place: Place) -> None:
        async def scenario() -> None:
            async with connected(place) as runtime:
                spec = place.spec("pass")
                missing = Mount(source=place.home / "missing", target="/workspace/missing")
                with pytest.raises((SandboxFailed, SandboxRefused), match="missing"):
                    await runtime.start(evolve(spec, mounts=(*spec.mounts, missing)))
                assert not missing.source.exists()
                assert await runtime.reap() == 0
                assert (await (await runtime.start(spec)).wait()).code == 0

        patiently(scenario())

    def test_event_loop_is_never_blocked(self, place: Place) -> None:
        """A host runs all sandboxes on one event loop (⚠26)."""

        async def scenario() -> float:
            async with connected(place) as runtime:
                await runtime.check()  # the first check loads modules
                async with longest_pause() as pause_s:
                    await runtime.check()
                    sandbox = await started(runtime, place.spec(STUBBORN), place)
                    await sandbox.stop(0.3)
                    await runtime.reap()
                return max(pause_s)

        assert patiently(scenario()) < 0.25

    # Sandboxes of dead hosts

    def test_reap_ends_only_sandboxes_of_dead_hosts(self, place: Place) -> None:
        async def scenario() -> None:
            killed_host(place)
            async with connected(place) as runtime:
                own = place.other_session("own")
                mine = await started(runtime, own.spec(WAIT_FOR_SIGTERM), own)
                await runtime.reap()
                assert not await asyncio.to_thread(writes_on, place.outgoing / "alive")
                assert await runtime.reap() == 0
                await mine.stop(PATIENCE_S)
                assert (await mine.wait()).code == 3

        patiently(scenario())

    def test_reap_ends_sandboxes_after_ctrl_c(self, place: Place) -> None:
        """Ctrl+C reaches all processes of the terminal's group, and may end the host first."""

        async def scenario() -> None:
            killed_host(place, by_ctrl_c=True)
            async with connected(place) as runtime:
                await runtime.reap()
            assert not await asyncio.to_thread(writes_on, place.outgoing / "alive")

        patiently(scenario())

    def test_reap_spares_sandboxes_of_other_instances(self, place: Place, tmp_path: Path) -> None:
        async def scenario() -> None:
            neighbour = new_place(tmp_path / "neighbour", self.plugin, place.settings)
            async with connected(neighbour) as theirs, connected(place) as ours:
                sandbox = await started(theirs, neighbour.spec(WAIT_FOR_SIGTERM), neighbour)
                assert await ours.reap() == 0
                await sandbox.stop(PATIENCE_S)
                assert (await sandbox.wait()).code == 3

        patiently(scenario())
