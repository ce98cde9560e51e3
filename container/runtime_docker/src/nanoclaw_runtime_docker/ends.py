"""Noticing the end of containers: one stream of events for all of them, and a slow look in case it lost one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nanoclaw_core import NanoclawError
from nanoclaw_runtime_docker.container import INSTANCE_LABEL
from nanoclaw_runtime_docker.engine import LOOK_S, Engine

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

LOOK_EVERY_S = 30.0
RECONNECT_S = 1.0
CLOSE_S = 1.0  # a thread that hangs in the engine is a daemon, and nobody has to wait for it


class EndWatch:
    """Calls back on the event loop when a watched container may have ended; it may call more than once."""

    def __init__(self, engine: Engine, instance_id: str) -> None:
        self._engine, self._label = engine, f"{INSTANCE_LABEL}={instance_id}"
        self._watched: dict[str, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._looking: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self._closing = threading.Event()
        self._stream: Any = None

    async def open(self) -> None:
        """Start to listen, if not yet done, and wait until the engine tells its events; not for long."""
        if self._thread is None:
            loop = asyncio.get_running_loop()
            # A daemon: it waits in a socket, and must not hold up the exit of a host that was not closed in order.
            self._thread = threading.Thread(target=self._listen, args=(loop,), name="docker-events", daemon=True)
            self._thread.start()
            self._looking = asyncio.create_task(self._look_now_and_then())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._listening.wait()

    def watch(self, container_id: str, ended: Callable[[], None]) -> None:
        """Call `ended` when the container may have ended."""
        self._watched[container_id] = ended

    def forget(self, container_id: str) -> None:
        """Call no more for this one."""
        self._watched.pop(container_id, None)

    async def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        if self._looking is not None:
            self._looking.cancel()
        if self._stream is not None:
            self._stream.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_S)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._closing.is_set():
            try:
                self._listen_once(loop)
            except RuntimeError:
                return  # the event loop is gone
            except Exception as error:  # the SDK lets errors of three libraries through; all mean "try again"
                log.warning("docker events lost", extra={"error": str(error)})
            self._closing.wait(RECONNECT_S)

    def _listen_once(self, loop: asyncio.AbstractEventLoop) -> None:
        filters = {"type": "container", "event": "die", "label": self._label}
        self._stream = self._engine.client(LOOK_S).events(decode=True, filters=filters)
        if self._closing.is_set():
            self._stream.close()
        loop.call_soon_threadsafe(self._connected)
        for event in self._stream:
            loop.call_soon_threadsafe(self._told, str(event.get("id") or event.get("Actor", {}).get("ID")))

    def _connected(self) -> None:
        self._listening.set()
        for ended in list(self._watched.values()):
            ended()  # whatever ended while nobody listened

    def _told(self, container_id: str) -> None:
        ended = self._watched.get(container_id)
        if ended is not None:
            ended()

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._watched:
                continue
            asked = set(self._watched)
            with contextlib.suppress(NanoclawError):
                running = await self._engine.look(self._running)
                for container_id in asked - running:
                    self._told(container_id)

    def _running(self, client: APIClient) -> set[str]:
        return {str(found["Id"]) for found in client.containers(filters={"label": self._label})}
