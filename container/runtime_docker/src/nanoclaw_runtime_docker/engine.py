"""The connection to the Docker engine. Whatever waits for it does so in a thread, never on the event loop (⚠26)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nanoclaw_core import NanoclawError, SandboxFailed, SandboxRefused
from nanoclaw_runtime_docker.threads import DaemonThreads

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

THREADS = 8
SLOW_S = 1.0  # the version takes milliseconds; who waits for a sandbox wants to know by now what for
LOOK_S = 5.0  # how long a mere question may take; `check` has to answer within 10 s
T = TypeVar("T")


class Engine:
    """One engine, by address.

    Nothing is imported or opened before the first call: the `docker` package takes a quarter of a second.

    Args:
        address: As `DOCKER_HOST` has it; empty looks for the engine in the usual places, see `address_of`.
        environment: The host's environment, for the address and for TLS.
        timeout_s: How long one answer may take, in seconds.
    """

    def __init__(self, address: str, environment: Mapping[str, str], timeout_s: float) -> None:
        self._wanted, self._environment, self._timeout_s = address, environment, timeout_s
        self._clients: dict[float, APIClient] = {}
        self._lock = threading.Lock()
        self._threads = DaemonThreads(THREADS)

    @property
    def address(self) -> str:
        """Where the engine is looked for."""
        return self._wanted or address_of(self._environment)

    async def call(self, function: Callable[[APIClient], T]) -> T:
        """Run a function with the client in a thread and return what it returns.

        Raises:
            SandboxRefused: There is no engine, or we may not use it; the message says what to do.
            SandboxFailed: The engine does not answer, or answered that it failed.
        """
        return await self._call(function, self._timeout_s)

    async def look(self, function: Callable[[APIClient], T]) -> T:
        """Do the same as `call` for a question that has to be answered soon; the log says so when it is not."""
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._say_that_it_is_slow)
        try:
            return await self._call(function, min(LOOK_S, self._timeout_s))
        finally:
            slow.cancel()

    def client(self, timeout_s: float) -> APIClient:
        """Return the client that waits so long for an answer; blocks while it connects, so only for threads."""
        knock(self.address)
        with self._lock:
            known = self._clients.get(timeout_s)
        if known is not None:
            return known
        made = self.connect(timeout_s)  # not under the lock: an engine that hangs must not hold up other questions
        with self._lock:
            first = self._clients.setdefault(timeout_s, made)
        if first is not made:
            made.close()
        return first

    def close(self) -> None:
        """Let go of the connections. A thread that still waits for an answer ends with its time-out."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _say_that_it_is_slow(self) -> None:
        log.warning("waiting for the docker engine", extra={"address": self.address})

    async def _call(self, function: Callable[[APIClient], T], timeout_s: float) -> T:
        def work() -> T:
            try:
                return function(self.client(timeout_s))
            except NanoclawError:
                raise
            except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
                raise explain(error, self.address) from error

        return await self._threads.run(work)

    def connect(self, timeout_s: float) -> APIClient:
        """Make a client of one's own; blocks."""
        knock(self.address)
        from docker import APIClient
        from docker.utils import kwargs_from_env

        arguments: dict[str, Any] = kwargs_from_env(environment=dict(self._environment))
        arguments["base_url"] = self.address
        return APIClient(version="auto", timeout=timeout_s, **arguments)


def knock(address: str) -> None:
    """Connect to a unix socket and hang up; other addresses are left to the SDK.

    The SDK leaks a socket for every connection that fails, and takes a quarter of a second to load for nothing.

    Raises:
        OSError: Nobody listens there, or we may not connect.
    """
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(LOOK_S)
            probe.connect(address.removeprefix("unix://"))


def address_of(environment: Mapping[str, str]) -> str:
    """Return where the engine is: $DOCKER_HOST, the current docker context, or the first usual socket that exists."""
    if environment.get("DOCKER_HOST"):
        return environment["DOCKER_HOST"]
    if _names_a_context(environment):
        from docker.context import ContextAPI  # with the whole SDK, which takes a quarter of a second

        context = ContextAPI.get_current_context()
        if context is not None and context.name != "default" and context.Host:
            return str(context.Host)
    runtime_dir = environment.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    usual = ["/var/run/docker.sock", f"{runtime_dir}/docker.sock", f"{runtime_dir}/podman/podman.sock"]
    found = next((path for path in usual if Path(path).exists()), usual[0])
    return f"unix://{found}"


def _names_a_context(environment: Mapping[str, str]) -> bool:
    folder = environment.get("DOCKER_CONFIG") or "~/.docker"
    try:
        return "currentContext" in (Path(folder).expanduser() / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False  # whoever never chose one has no such file


class EngineRefused(SandboxRefused):
    """There is no engine, or we may not use it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what, self.remedy = what, remedy


class EngineFailed(SandboxFailed):
    """The engine does not answer, or not as it should."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what, self.remedy = what, remedy


def explain(error: Exception, address: str) -> EngineRefused | EngineFailed:
    """Turn an error of the SDK into one of ours, with what to do about it."""
    number = _system_error(error)
    if number == errno.EACCES:
        return EngineRefused(
            f"this user may not use the Docker engine at {address}",
            "Add yourself to the docker group (sudo usermod -aG docker $USER) and log in again.",
        )
    if number == errno.ENOENT:
        return EngineRefused(
            f"there is no Docker engine at {address}",
            "Install and start Docker (https://docs.docker.com/engine/install/), or set DOCKER_HOST.",
        )
    if number == errno.ECONNREFUSED:
        return EngineFailed(
            f"nothing answers at {address}", "Start the Docker engine (sudo systemctl start docker, or Docker Desktop)."
        )
    if _is_timeout(error):
        return EngineFailed(
            f"the Docker engine at {address} does not answer in time", "Look whether it is overloaded, or restart it."
        )
    said = str(getattr(error, "explanation", None) or error).rstrip(".")
    return EngineFailed(f"the Docker engine at {address} failed: {said}", "The engine's own log may say more.")


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error with everything it was raised from, and what libraries hide in its arguments."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, *one.args]
        elif isinstance(one, tuple):
            waiting += one
    return found


def _system_error(error: BaseException) -> int | None:
    return next((one.errno for one in _chain(error) if isinstance(one, OSError) and isinstance(one.errno, int)), None)


def _is_timeout(error: BaseException) -> bool:
    return any("Timeout" in type(one).__name__ or isinstance(one, TimeoutError) for one in _chain(error))
