"""A running container: its end, its last words, and how it is asked to leave."""

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

LAST_WORDS_CHARACTERS = 4_000
LAST_LINES = 400  # the log's size is bounded too, see container.LOG_SIZE
LOOK_AGAIN_S = 2.0
HIGHEST_SIGNAL = 64


class DockerSandbox:
    """One container, removed when it has ended.

    Args:
        on_end: Called once, when the container is gone.
    """

    def __init__(self, engine: Engine, container_id: str, on_end: Callable[[], None]) -> None:
        self._engine, self._container_id, self._on_end = engine, container_id, on_end
        self._ended: asyncio.Future[SandboxExit] = asyncio.get_running_loop().create_future()
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._killed = False

    async def wait(self) -> SandboxExit:
        """Wait for its end."""
        return await asyncio.shield(self._ended)  # one waiter that gives up must not end the wait of the others

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL after so many seconds.

        Raises:
            SandboxFailed: The engine does not answer; it may still run.
        """
        if self._ended.done():
            return
        await self._signal("SIGTERM")
        await asyncio.wait([self._ended], timeout=grace_s)
        while not self._ended.done():
            self._killed = True
            await self._signal("SIGKILL")
            await asyncio.wait([self._ended], timeout=LOOK_AGAIN_S)
            self.look()  # whatever became of the event

    def look(self) -> None:
        """Find out whether it ended, and clear it away if so. To be called on the event loop, as often as one likes."""
        if self._ended.done():
            return
        if self._looking is not None and not self._looking.done():
            self._look_again = True
            return
        self._looking = asyncio.create_task(self._clear_away())

    def let_go(self) -> None:
        """Stop caring for it; whoever waits is cancelled."""
        if self._looking is not None:
            self._looking.cancel()
        self._ended.cancel()

    async def _clear_away(self) -> None:
        while True:
            self._look_again = False
            try:
                ended = await self._engine.call(self._take_down)
            except NanoclawError as error:
                log.warning("ended sandbox not cleared away yet", extra={"error": str(error)})
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            if ended is not None and not self._ended.done():
                self._on_end()
                self._ended.set_result(ended)
            if ended is not None or not self._look_again:
                return

    def _take_down(self, client: APIClient) -> SandboxExit | None:
        from docker.errors import NotFound

        try:
            state = client.inspect_container(self._container_id)["State"]
            if state.get("Running") or state.get("Status") == "created":
                return None
            said = client.logs(self._container_id, stdout=False, stderr=True, tail=LAST_LINES)
            client.remove_container(self._container_id, force=True, v=True)
        except NotFound:
            return SandboxExit(code=-9, reason="removed by somebody else")
        return how_it_ended(state, said, killed=self._killed)

    async def _signal(self, name: str) -> None:
        await self._engine.call(lambda client: send_signal(client, self._container_id, name))


def how_it_ended(state: Mapping[str, Any], said: bytes, *, killed: bool) -> SandboxExit:
    """Read the end of a container from the engine's words."""
    status = int(state.get("ExitCode", 0))
    code = 128 - status if 128 < status <= 128 + HIGHEST_SIGNAL else status  # the init process reports signals so
    reason = "killed" if killed or code < 0 else "exited"
    words = said.decode("utf-8", "replace")[-LAST_WORDS_CHARACTERS:]
    return SandboxExit(code=code, reason="out of memory" if state.get("OOMKilled") else reason, last_words=words)


def send_signal(client: APIClient, container_id: str, name: str) -> None:
    """Send a signal to a container; one that is not there or does not run needs none."""
    from docker.errors import APIError

    try:
        client.kill(container_id, signal=name)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise
