"""A Docker engine for tests: one that answers already, or one of our own.

An engine of our own has its own data and sockets, no bridge and no firewall rules: two of them can run side by side,
and beside a real one. Containers in it have no network, or the host's.
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
PACKAGES = {"dockerd": "docker.io", "bwrap": "bubblewrap", "debootstrap": "debootstrap", "zsh": "zsh", "fish": "fish"}


class NoEngine(Exception):
    """There is no engine and none can be started; the message says why and what to do."""


@contextlib.contextmanager
def engine(environment: Mapping[str, str]) -> Iterator[str]:
    """Give the address of an engine; one that had to be started ends with the block.

    Raises:
        NoEngine: None answers, and none can be started here.
    """
    for address in (environment.get("DOCKER_HOST"), "unix:///var/run/docker.sock"):
        if address and answers(address):
            yield address
            return
    with _engine_of_our_own() as address:
        yield address


def answers(address: str) -> bool:
    """Say whether an engine answers there."""
    import docker
    from docker.errors import DockerException

    if address.startswith("unix://") and not _somebody_listens(address.removeprefix("unix://")):
        return False  # asked here, because the package leaks the socket of a connection that fails
    try:
        client = docker.APIClient(base_url=address, version="auto", timeout=5)
    except DockerException:
        return False
    client.close()
    return True


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def install_missing() -> list[str]:
    """Install the packages of programs that tests want and are missing, as root on a Debian; return their names.

    Raises:
        NoEngine: It cannot be done here.
    """
    missing = [package for program, package in PACKAGES.items() if find_program(program) is None]
    if not missing:
        return []
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngine(f"{', '.join(missing)} not installed, and installing takes root on a Debian or Ubuntu")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *missing]):
        done = subprocess.run(command, env=quiet, stdout=sys.stderr, check=False)
        if done.returncode:
            raise NoEngine(f"{' '.join(command)} failed with status {done.returncode}")
    return missing


@contextlib.contextmanager
def _engine_of_our_own() -> Iterator[str]:
    if os.geteuid() != 0:
        raise NoEngine("no Docker engine answers; start one, or set DOCKER_HOST (starting our own takes root)")
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
    """Unmount what the engine left: the network namespace of containers that shared the host's."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if Path(path).is_relative_to(home)), reverse=True):
        subprocess.run(["umount", path], check=False)


@contextlib.contextmanager
def _daemon(program: str, home: Path, log: int) -> Iterator[str]:
    path = home / "docker.sock"
    command = [program, "--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "-p", str(home / "pid")]
    command += ["-H", f"unix://{path}", "--bridge=none", "--iptables=false"]
    # A session of its own: an interrupt at the keyboard is for the tests, which then end the engine in order.
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
    """Wait until a daemon takes connections at a socket.

    Raises:
        NoEngine: It ended, or did not get so far; the message has the end of its log.
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
    """Return where a program is, also where only root's path has it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: docker_engine.py install")
    try:
        print(f"installed: {', '.join(install_missing()) or 'nothing, all is there'}")
    except NoEngine as error:
        sys.exit(str(error))
