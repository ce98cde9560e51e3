"""A proxy of a Docker engine that a test can close, or that loses an answer."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading

from nanoclaw_core.testing.hosting import until


class EngineProxy:
    """Listens on its own socket and forwards everything to the engine.

    While it is closed, it breaks every connection and refuses new ones.
    """

    def __init__(self, address: str) -> None:
        self._target = address.removeprefix("unix://")
        self._directory = tempfile.TemporaryDirectory()
        self._server = socket.socket(socket.AF_UNIX)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._requests: list[bytes] = []
        self._losing, self._hangs_up = b"", True
        self._replaced, self._replacement = b"", b""
        self._is_open = True
        self.address = f"unix://{self._directory.name}/engine_proxy.sock"

    def __enter__(self) -> EngineProxy:
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

    def lose_answer_to(self, request_part: bytes, *, hang_up: bool = True) -> None:
        """Forward the next request that contains some bytes, and drop its answer.

        Then close the proxy, like an engine that dies; leave the client waiting if `hang_up` is False.
        """
        self._losing, self._hangs_up = request_part, hang_up

    def replace(self, replaced: bytes, replacement: bytes) -> None:
        """Replace bytes in later requests by others of the same length."""
        assert len(replaced) == len(replacement), "a request states its length"
        self._replaced, self._replacement = replaced, replacement

    async def wait_for_request(self, request_part: bytes) -> None:
        """Wait until the proxy has forwarded a request that contains some bytes."""
        await until(lambda: any(request_part in request for request in self._requests))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if not self._is_open:
                client.close()
                continue
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self._target)
            self._connections += [client, engine]
            lost = threading.Event()
            self._run(self._forward_requests, client, engine, lost)
            self._run(self._forward_answers, engine, client, lost)

    def _forward_requests(self, client: socket.socket, engine: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                self._requests.append(data)
                if self._losing and self._losing in data:
                    self._losing = b""
                    lost.set()
                engine.sendall(data.replace(self._replaced, self._replacement) if self._replaced else data)
            engine.shutdown(socket.SHUT_RDWR)

    def _forward_answers(self, engine: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := engine.recv(65_536):
                if not lost.is_set():
                    client.sendall(data)
                elif self._hangs_up:
                    self.close()
            if self._hangs_up or not lost.is_set():
                _hang_up(client)
                _hang_up(engine)

    def _run(self, function, *arguments: object) -> None:  # type: ignore[no-untyped-def]  # any function
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
