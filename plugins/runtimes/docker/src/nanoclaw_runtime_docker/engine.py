"""The connection to the Docker engine. Every call runs in a thread, never on the event loop (⚠26)."""

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
from nanoclaw_runtime_docker.threads import DaemonExecutor

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

MAX_CALLS = 8  # at the same time
MAX_THREADS = 64  # with those whose callers gave up; each ends at its time limit
SLOW_S = 1.0  # a query takes milliseconds; after this time the log explains why a sandbox does not start
QUERY_TIMEOUT_S = 5.0  # the time limit of a query; `check` has to answer within 10 s
T = TypeVar("T")


class Engine:
    """An engine at an address.

    It imports and opens nothing before the first call: the `docker` package takes a quarter of a second to import.

    Args:
        address: In the format of `DOCKER_HOST`; empty to search the usual places, see `address_of`.
        environment: The host's environment, for the address and for TLS.
        timeout_s: The time limit of one answer, in seconds.
    """

    def __init__(self, address: str, environment: Mapping[str, str], timeout_s: float) -> None:
        self._configured_address, self._environment, self._timeout_s = address, environment, timeout_s
        self._clients: dict[float, APIClient] = {}
        self._lock = threading.Lock()
        self._executor = DaemonExecutor(MAX_CALLS, MAX_THREADS)

    @property
    def address(self) -> str:
        """The engine's address."""
        return self._configured_address or address_of(self._environment)

    async def call(self, function: Callable[[APIClient], T]) -> T:
        """Run a function with the client in a thread and return its result.

        Raises:
            SandboxRefused: No engine exists, or this user may not use it; the message says how to fix that.
            SandboxFailed: The engine does not answer, or reported a failure.
        """
        return await self._call(function, self._timeout_s)

    async def query(self, function: Callable[[APIClient], T]) -> T:
        """Run a short query like `call`, within QUERY_TIMEOUT_S. Log a warning if it takes longer than SLOW_S."""
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._warn_slow)
        try:
            return await self._call(function, min(QUERY_TIMEOUT_S, self._timeout_s))
        finally:
            slow.cancel()

    def client(self, timeout_s: float) -> APIClient:
        """Return the shared client with this time limit for answers. Blocks while it connects: call it in a thread."""
        probe_socket(self.address)
        with self._lock:
            cached = self._clients.get(timeout_s)
        if cached is not None:
            return cached
        client = self.connect(timeout_s)  # outside the lock: a hanging engine must not delay other calls
        with self._lock:
            first = self._clients.setdefault(timeout_s, client)
        if first is not client:
            client.close()
        return first

    def close(self) -> None:
        """Close the connections. A thread that waits for an answer ends at its time limit."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _warn_slow(self) -> None:
        log.warning("waiting for the docker engine", extra={"address": self.address})

    async def _call(self, function: Callable[[APIClient], T], timeout_s: float) -> T:
        def work() -> T:
            try:
                return function(self.client(timeout_s))
            except NanoclawError:
                raise
            except Exception as error:  # the SDK raises errors of three libraries; `explain` maps each to one of ours
                raise explain(error, self.address) from error

        return await self._executor.run(work)

    def connect(self, timeout_s: float) -> APIClient:
        """Return a new client, which the caller closes. Blocks."""
        probe_socket(self.address)
        from docker import APIClient
        from docker.utils import kwargs_from_env

        arguments: dict[str, Any] = kwargs_from_env(environment=dict(self._environment))
        arguments["base_url"] = self.address
        return APIClient(version="auto", timeout=timeout_s, **arguments)


def probe_socket(address: str) -> None:
    """Check that a unix socket accepts connections; do nothing for other addresses.

    The SDK leaks a socket for every connection that fails, and takes a quarter of a second to load.

    Raises:
        OSError: No process listens there, or this user may not connect.
    """
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(QUERY_TIMEOUT_S)
            probe.connect(address.removeprefix("unix://"))


def address_of(environment: Mapping[str, str]) -> str:
    """Return the address in $DOCKER_HOST, of the current docker context, or of the first usual socket that exists."""
    if environment.get("DOCKER_HOST"):
        return environment["DOCKER_HOST"]
    if _names_a_context(environment):
        from docker.context import ContextAPI  # loads the whole SDK, which takes a quarter of a second

        context = ContextAPI.get_current_context()
        if context is not None and context.name != "default" and context.Host:
            return str(context.Host)
    runtime_dir = environment.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    usual = ["/var/run/docker.sock", f"{runtime_dir}/docker.sock", f"{runtime_dir}/podman/podman.sock"]
    return f"unix://{next((path for path in usual if Path(path).exists()), usual[0])}"


def _names_a_context(environment: Mapping[str, str]) -> bool:
    folder = environment.get("DOCKER_CONFIG") or "~/.docker"
    try:
        return "currentContext" in (Path(folder).expanduser() / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False  # the file is missing if the user never chose a context


class EngineRefused(SandboxRefused):
    """No engine exists, or this user may not use it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


class EngineFailed(SandboxFailed):
    """The engine does not answer, or reported a failure."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


def explain(error: Exception, address: str) -> EngineRefused | EngineFailed:
    """Map an error of the SDK to one of ours that names the remedy."""
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
            f"the Docker engine at {address} does not answer in time", "Check whether it is overloaded, or restart it."
        )
    explanation = str(getattr(error, "explanation", None) or error).rstrip(".")
    return EngineFailed(f"the Docker engine at {address} failed: {explanation}", "Read the engine's own log.")


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error with its causes, its contexts and the errors that libraries hide in its arguments."""
    chain: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        candidate = pending.pop()
        if isinstance(candidate, BaseException) and candidate not in chain:
            chain.append(candidate)
            pending += [candidate.__cause__, candidate.__context__, *candidate.args]
        elif isinstance(candidate, tuple):
            pending += candidate
    return chain


def _system_error(error: BaseException) -> int | None:
    numbers = (cause.errno for cause in _chain(error) if isinstance(cause, OSError))
    return next((number for number in numbers if isinstance(number, int)), None)


def _is_timeout(error: BaseException) -> bool:
    return any("Timeout" in type(cause).__name__ or isinstance(cause, TimeoutError) for cause in _chain(error))
