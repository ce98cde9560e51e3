"""Detects the exit of containers: one stream of events for all of them, and a slow poll in case an event is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nanoclaw_core import NanoclawError
from nanoclaw_runtime_docker.container import INSTANCE_LABEL
from nanoclaw_runtime_docker.engine import QUERY_TIMEOUT_S, Engine

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

POLL_INTERVAL_S = 30.0
RECONNECT_S = 1.0
CLOSE_S = 1.0  # the thread may hang in the engine; it is a daemon, so the process can end without it


class ExitWatcher:
    """Calls back on the event loop, possibly more than once, when a watched container may have ended."""

    def __init__(self, engine: Engine, instance_id: str) -> None:
        self._engine, self._label = engine, f"{INSTANCE_LABEL}={instance_id}"
        self._watched: dict[str, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._poller: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._closing = threading.Event()
        self._stream: Any = None

    async def open(self) -> None:
        """Start the watcher if necessary, and wait up to QUERY_TIMEOUT_S for the engine's stream of events."""
        if self._thread is None:
            loop = asyncio.get_running_loop()
            # A daemon: it blocks on a socket, and must not delay the exit of a host that did not call `close`.
            self._thread = threading.Thread(target=self._listen, args=(loop,), name="docker-events", daemon=True)
            self._thread.start()
            self._poller = asyncio.create_task(self._poll())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUERY_TIMEOUT_S):
                await self._subscribed.wait()

    def watch(self, container_id: str, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` when the container may have ended."""
        self._watched[container_id] = on_exit

    def forget(self, container_id: str) -> None:
        """Stop watching a container."""
        self._watched.pop(container_id, None)

    async def close(self) -> None:
        """Stop the thread and the poll."""
        self._closing.set()
        if self._poller is not None:
            self._poller.cancel()
        if self._stream is not None:
            self._stream.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_S)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._closing.is_set():
            try:
                self._listen_once(loop)
            except RuntimeError:
                return  # the event loop is closed
            except Exception as error:  # the SDK raises errors of three libraries; all of them mean "try again"
                log.warning("docker events lost", extra={"error": str(error)})
            self._closing.wait(RECONNECT_S)

    def _listen_once(self, loop: asyncio.AbstractEventLoop) -> None:
        filters = {"type": "container", "event": "die", "label": self._label}
        self._stream = self._engine.client(QUERY_TIMEOUT_S).events(decode=True, filters=filters)
        if self._closing.is_set():
            self._stream.close()
        loop.call_soon_threadsafe(self._connected)
        for event in self._stream:
            loop.call_soon_threadsafe(self._notify, str(event.get("id") or event.get("Actor", {}).get("ID")))

    def _connected(self) -> None:
        self._subscribed.set()
        for on_exit in list(self._watched.values()):
            on_exit()  # any of them may have ended while the stream was down

    def _notify(self, container_id: str) -> None:
        on_exit = self._watched.get(container_id)
        if on_exit is not None:
            on_exit()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if not self._watched:
                continue
            watched = set(self._watched)
            with contextlib.suppress(NanoclawError):
                running = await self._engine.query(self._running_containers)
                for container_id in watched - running:
                    self._notify(container_id)

    def _running_containers(self, client: APIClient) -> set[str]:
        return {str(container["Id"]) for container in client.containers(filters={"label": self._label})}
