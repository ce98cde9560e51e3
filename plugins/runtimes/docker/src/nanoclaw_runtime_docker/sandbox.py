"""A running container: its exit, the tail of its stderr, and its stop signals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nanoclaw_core import NanoclawError, SandboxExit
from nanoclaw_runtime_docker.engine import Engine

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

STDERR_TAIL_CHARACTERS = 4_000
STDERR_TAIL_LINES = 400  # container.LOG_SIZE bounds the size of the log too
RECHECK_S = 2.0
HIGHEST_SIGNAL = 64


class DockerSandbox:
    """A container, which is removed after its exit.

    Args:
        on_end: Called once, after the container is removed.
    """

    def __init__(self, engine: Engine, container_id: str, on_end: Callable[[], None]) -> None:
        self._engine, self._container_id, self._on_end = engine, container_id, on_end
        self._ended: asyncio.Future[SandboxExit] = asyncio.get_running_loop().create_future()
        self._removal: asyncio.Task[None] | None = None
        self._poll_again = False
        self._killed = False

    async def wait(self) -> SandboxExit:
        """Wait for the container's exit."""
        return await asyncio.shield(self._ended)  # cancelling one waiter must not cancel the others

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL after `grace_s` seconds.

        Raises:
            SandboxFailed: The engine does not answer; the container may still run.
        """
        if self._ended.done():
            return
        await self._signal("SIGTERM")
        await asyncio.wait([self._ended], timeout=grace_s)
        while not self._ended.done():
            self._killed = True
            await self._signal("SIGKILL")
            await asyncio.wait([self._ended], timeout=RECHECK_S)
            self.poll()  # the event of the exit may be lost

    def poll(self) -> None:
        """Check for the container's exit, and remove the container after it. Call it on the event loop, at any time."""
        if self._ended.done():
            return
        if self._removal is not None and not self._removal.done():
            self._poll_again = True
            return
        self._removal = asyncio.create_task(self._remove_after_exit())

    def detach(self) -> None:
        """Stop watching the container, and cancel its waiters."""
        if self._removal is not None:
            self._removal.cancel()
        self._ended.cancel()

    async def _remove_after_exit(self) -> None:
        while True:
            self._poll_again = False
            try:
                ended = await self._engine.call(self._remove_if_ended)
            except NanoclawError as error:
                log.warning("ended sandbox not removed yet", extra={"error": str(error)})
                await asyncio.sleep(RECHECK_S)
                continue
            if ended is not None and not self._ended.done():
                self._on_end()
                self._ended.set_result(ended)
            if ended is not None or not self._poll_again:
                return

    def _remove_if_ended(self, client: APIClient) -> SandboxExit | None:
        from docker.errors import NotFound

        try:
            state = client.inspect_container(self._container_id)["State"]
            if state.get("Running") or state.get("Status") == "created":
                return None
            stderr = client.logs(self._container_id, stdout=False, stderr=True, tail=STDERR_TAIL_LINES)
            client.remove_container(self._container_id, force=True, v=True)
        except NotFound:
            return SandboxExit(code=-9, reason="container removed from outside")
        return read_exit(state, stderr, killed=self._killed)

    async def _signal(self, name: str) -> None:
        await self._engine.call(lambda client: send_signal(client, self._container_id, name))


def read_exit(state: Mapping[str, Any], stderr: bytes, *, killed: bool) -> SandboxExit:
    """Translate the engine's state of an ended container."""
    status = int(state.get("ExitCode", 0))
    code = 128 - status if 128 < status <= 128 + HIGHEST_SIGNAL else status  # the init process adds 128 to a signal
    reason = "killed" if killed or code < 0 else "exited"
    tail = stderr.decode("utf-8", "replace")[-STDERR_TAIL_CHARACTERS:]
    return SandboxExit(code=code, reason="out of memory" if state.get("OOMKilled") else reason, stderr_tail=tail)


def send_signal(client: APIClient, container_id: str, name: str) -> None:
    """Send a signal to a container; ignore a container that is missing or not running."""
    from docker.errors import APIError

    try:
        client.kill(container_id, signal=name)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise
