"""A Docker engine that a test kills and restarts while its containers keep running.

containerd and dockerd are two processes, as in a distribution's packages: each can die alone, and the containers
survive both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from docker_engine import NoEngine, find_program, unmount_below, wait_until_it_listens

CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "{home}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{home}/containerd.sock"
"""
PROGRAMS = ("containerd", "dockerd")
ENDS_WITHIN_S = 60.0


class RestartableEngine:
    """An engine with its own data, sockets and pid files in a directory.

    Containers have no network.

    Attributes:
        keeps_containers: Applies to the next start. True keeps containers running (dockerd's `live-restore`), False
            ends them.
    """

    def __init__(self, home: Path) -> None:
        self._home, self.keeps_containers = home, False
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"unix://{home}/docker.sock"
        (home / "containerd.toml").write_text(CONTAINERD.format(home=home))

    def start(self) -> None:
        """Start the daemons that do not run, and wait until they listen."""
        for name in PROGRAMS:
            if name not in self._processes:
                self._start(name)

    def kill(self, name: str) -> None:
        """Kill `containerd` or `dockerd` with SIGKILL."""
        self._end(name, signal.SIGKILL)

    def stop(self) -> None:
        """Stop dockerd with SIGTERM, as for an upgrade."""
        self._end("dockerd", signal.SIGTERM)

    def close(self) -> None:
        """Remove all containers and stop both daemons."""
        self.start()
        self._remove_containers()
        for name in reversed(PROGRAMS):
            self._end(name, signal.SIGTERM)
        self._end_forgotten()
        unmount_below(self._home)

    def _start(self, name: str) -> None:
        program = find_program(name)
        if program is None:
            raise NoEngine(f"{name} is not installed (Debian: apt install docker.io)")
        log, listens_at = (
            self._home / f"{name}.log",
            self._home / ("docker.sock" if name == "dockerd" else f"{name}.sock"),
        )
        listens_at.unlink(missing_ok=True)  # the stale socket of a killed daemon would look like a running one
        with log.open("ab") as file:
            command = [program, *self._arguments(name)]
            # Its own session: Ctrl-C reaches only the tests, which then stop the engine cleanly.
            process = subprocess.Popen(
                command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
            )
        (self._home / f"{name}.pid").write_text(str(process.pid))
        self._processes[name] = process
        wait_until_it_listens(process, listens_at, log)

    def _arguments(self, name: str) -> list[str]:
        home = self._home
        if name == "containerd":
            return ["--config", f"{home}/containerd.toml"]
        own = [f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/docker.pid"]
        common = [f"--containerd={home}/containerd.sock", "-H", self.address, "--bridge=none", "--iptables=false"]
        return [*own, *common, *(["--live-restore"] if self.keeps_containers else [])]

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_forgotten(self) -> None:
        """Kill containers that the engine does not know.

        A killed engine may forget a container that it started.
        """
        processes = dict(_processes())
        address = f"{self._home}/containerd.sock".encode()
        shims = {pid for pid, (_, command) in processes.items() if address in command}
        inside = {pid for pid, (parent, _) in processes.items() if parent in shims}
        for pid in (*inside, *shims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _remove_containers(self) -> None:
        import docker

        client = docker.APIClient(base_url=self.address, version="auto", timeout=ENDS_WITHIN_S)
        try:
            for container in client.containers(all=True):
                with contextlib.suppress(docker.errors.APIError):
                    client.remove_container(container["Id"], force=True)
        finally:
            client.close()


def _processes() -> Iterator[tuple[int, tuple[int, bytes]]]:
    """Yield the id of every process with its parent's and its command line."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has just ended
            parent = int((path / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            yield int(path.name), (parent, (path / "cmdline").read_bytes())


@contextlib.contextmanager
def restartable_engine() -> Iterator[RestartableEngine]:
    """Start an engine, and stop it after the block.

    Raises:
        NoEngine: No engine can be started here.
    """
    if os.geteuid() != 0:
        raise NoEngine("tests kill only their own engine, and starting one needs root")
    home = Path(tempfile.mkdtemp(prefix="nc-engine-"))
    engine = RestartableEngine(home)
    try:
        engine.start()
        try:
            yield engine
        finally:
            engine.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)
