"""A way to a Docker engine that a test can close, or on which it can lose an answer."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading

from nanoclaw_core.testing.hosting import until


class Road:
    """Listens at a socket of its own and passes everything on to the engine.

    While it is closed, every connection breaks and new ones are hung up on.
    """

    def __init__(self, address: str) -> None:
        self._target = address.removeprefix("unix://")
        self._directory = tempfile.TemporaryDirectory()
        self._server = socket.socket(socket.AF_UNIX)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._requests: list[bytes] = []
        self._loses, self._hangs_up = b"", True
        self._replaced, self._replacement = b"", b""
        self._is_open = True
        self.address = f"unix://{self._directory.name}/road.sock"

    def __enter__(self) -> Road:
        self._server.bind(self.address.removeprefix("unix://"))
        self._server.listen(64)
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.close()
        for thread in self._threads:
            thread.join(30)
        for connection in self._connections:
            connection.close()
        self._directory.cleanup()

    def close(self) -> None:
        self._is_open = False
        for connection in self._connections:
            _hang_up(connection)

    def open(self) -> None:
        self._is_open = True

    def lose_the_answer_to(self, what: bytes, *, hang_up: bool = True) -> None:
        """Let the engine do the next thing whose request has this in it, and keep its answer back.

        Args:
            hang_up: True closes the road then, as an engine does that dies; False leaves whoever asked waiting.
        """
        self._loses, self._hangs_up = what, hang_up

    def replace(self, replaced: bytes, replacement: bytes) -> None:
        """Change requests on their way: the engine reads other bytes, of the same number, than were sent."""
        assert len(replaced) == len(replacement), "a request says how long it is"
        self._replaced, self._replacement = replaced, replacement

    async def has_passed(self, what: bytes) -> None:
        """Wait until a request with this in it went to the engine."""
        await until(lambda: any(what in request for request in self._requests))

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self._is_open:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._connections += [near, far]
            lost = threading.Event()
            self._run(self._pass_on, near, far, lost)
            self._run(self._bring_back, far, near, lost)

    def _pass_on(self, near: socket.socket, far: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65_536):
                self._requests.append(data)
                if self._loses and self._loses in data:
                    self._loses = b""
                    lost.set()
                far.sendall(data.replace(self._replaced, self._replacement) if self._replaced else data)
            far.shutdown(socket.SHUT_RDWR)

    def _bring_back(self, far: socket.socket, near: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65_536):
                if not lost.is_set():
                    near.sendall(data)
                elif self._hangs_up:
                    self.close()
            if self._hangs_up or not lost.is_set():
                _hang_up(near)
                _hang_up(far)

    def _run(self, function, *arguments: object) -> None:  # type: ignore[no-untyped-def]  # any function
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
