"""A Docker engine for tests: an existing one, or our own.

Our own engine has its own data and sockets, no bridge and no firewall rules. So several can run on one machine, next to
a real one. Their containers have no network, or the host's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

STARTS_WITHIN_S = 60.0
PACKAGES = {
    "dockerd": "docker.io", "bwrap": "bubblewrap", "mmdebstrap": "mmdebstrap", "zsh": "zsh", "fish": "fish",
    "git": "git", "node": "nodejs", "npm": "npm",
}  # fmt: skip


class NoEngine(Exception):
    """No engine exists and none can be started.

    The message has the reason and the remedy.
    """


@contextlib.contextmanager
def engine(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the address of an engine; stop it after the block if it was started here.

    Raises:
        NoEngine: No engine answers, and none can be started here.
    """
    for address in (environment.get("DOCKER_HOST"), "unix:///var/run/docker.sock"):
        if address and answers(address):
            yield address
            return
    with _engine_of_our_own() as address:
        yield address


def answers(address: str) -> bool:
    """Return whether an engine answers at an address."""
    import docker
    from docker.errors import DockerException

    if address.startswith("unix://") and not _accepts_connections(address.removeprefix("unix://")):
        return False  # checked here, because the SDK leaks the socket of a connection that fails
    try:
        client = docker.APIClient(base_url=address, version="auto", timeout=5)
    except DockerException:
        return False
    client.close()
    return True


def _accepts_connections(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def install_missing() -> list[str]:
    """Install the missing packages of programs that tests need, as root on a Debian.

    Return their names.

    Raises:
        NoEngine: This user cannot install packages, or the installation failed.
    """
    missing = [package for program, package in PACKAGES.items() if find_program(program) is None]
    if not missing:
        return []
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngine(f"{', '.join(missing)} not installed, and installing needs root on a Debian or Ubuntu")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *missing]):
        done = subprocess.run(command, env=quiet, stdout=sys.stderr, check=False)
        if done.returncode:
            raise NoEngine(f"{' '.join(command)} failed with status {done.returncode}")
    return missing


@contextlib.contextmanager
def _engine_of_our_own() -> Iterator[str]:
    if os.geteuid() != 0:
        raise NoEngine("no Docker engine answers; start one, or set DOCKER_HOST (starting our own needs root)")
    program = find_program("dockerd")
    if program is None:
        raise NoEngine("no Docker engine answers and dockerd is not installed (Debian: apt install docker.io)")
    home = Path(tempfile.mkdtemp(prefix="nanoclaw-engine-"))
    try:
        with (home / "log").open("wb") as log, _daemon(program, home, log.fileno()) as address:
            yield address
    finally:
        unmount_below(home)
        shutil.rmtree(home, ignore_errors=True)


def unmount_below(home: Path) -> None:
    """Unmount the engine's leftovers: the network namespaces of containers that shared the host's."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if Path(path).is_relative_to(home)), reverse=True):
        subprocess.run(["umount", path], check=False)


@contextlib.contextmanager
def _daemon(program: str, home: Path, log: int) -> Iterator[str]:
    path = home / "docker.sock"
    command = [program, "--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "-p", str(home / "pid")]
    command += ["-H", f"unix://{path}", "--bridge=none", "--iptables=false"]
    # Its own session: Ctrl-C reaches only the tests, which then stop the engine cleanly.
    daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_it_listens(daemon, path, home / "log")
        yield f"unix://{path}"
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def wait_until_it_listens(daemon: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    """Wait until a daemon accepts connections on a socket.

    Raises:
        NoEngine: It ended, or did not listen in time; the message has the end of its log.
    """
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and daemon.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        time.sleep(0.05)
    last = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise NoEngine(f"the engine did not start: {' / '.join(last)}")


def find_program(name: str) -> str | None:
    """Return a program's path, or None. Also search the directories of root's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: docker_engine.py install")
    try:
        print(f"installed: {', '.join(install_missing()) or 'nothing is missing'}")
    except NoEngine as error:
        sys.exit(str(error))
