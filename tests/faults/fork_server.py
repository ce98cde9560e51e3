"""A fork server: forks hosts and runners from a process with all imports done.

A kill costs milliseconds.

The processes are real; they share only their imports. Run as `python fork_server.py SOCKET`. Each connection carries
one order, a line of JSON. For a `host`, a `starter` or a `runner`, the server answers `{"pid": …}` and, at its end,
`{"code": …}`. It kills the process if the connection closes. `list` returns the pids of all runners; `reap` kills them.

On Linux the server becomes the parent of all processes that a killed one leaves behind. It answers `await_end` when
none of them is left, of any user.
"""

import contextlib
import ctypes
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nanoclaw_runner.plugins

PR_SET_CHILD_SUBREAPER = 36


class Child:
    """A connection and its process. `pid` is None until the order arrives."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.kind = ""
        self.pid: int | None = None
        self.received = b""


class ForkServer:
    """A server that executes orders until its standard input closes."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._children: dict[socket.socket, Child] = {}
        self._await_end: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wakeup_writer = socket.socketpair()
        self._wakeup_writer.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for readable in (self._listener, self._wakeup, sys.stdin):
            self._selector.register(readable, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until standard input closes, then kill the remaining processes."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    for child in self._running():
                        os.kill(child.pid or 0, signal.SIGKILL)
                    return
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    self._children[connection] = Child(connection)
                    self._selector.register(connection, selectors.EVENT_READ)
                elif key.fileobj is self._wakeup:
                    self._wakeup.recv(4096)
                    self._collect()
                elif key.fileobj in self._children:
                    self._receive(self._children[key.fileobj])

    def _running(self, kind: str = "") -> Iterator[Child]:
        return (child for child in list(self._children.values()) if child.pid and kind in ("", child.kind))

    def _collect(self) -> None:
        """Reap ended children and the orphans of killed ones, and answer the connections that wait for them."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for child in [child for child in self._running() if child.pid == ended[0]]:
                    self._answer(child, {"code": os.waitstatus_to_exitcode(ended[1])})
                    self._forget(child)
        except ChildProcessError:
            for child in self._await_end:
                self._answer(child, {"left": 0})
                self._forget(child)
            self._await_end.clear()

    def _receive(self, child: Child) -> None:
        try:
            received = child.connection.recv(65_536)
        except ConnectionError:
            received = b""
        child.received += received
        if not received:
            if child.pid is not None:
                self._kill(child)
            if child in self._await_end:
                self._await_end.remove(child)
            self._forget(child)
        elif child.received.endswith(b"\n"):
            self._execute(child, json.loads(child.received))

    def _execute(self, child: Child, order: dict[str, Any]) -> None:
        runners = list(self._running("runner"))
        match order["kind"]:
            case "reap":
                for runner in runners:
                    self._kill(runner)
                    self._forget(runner)
                self._answer(child, {"reaped": len(runners)})
                self._forget(child)
            case "list":
                self._answer(child, {"pids": [runner.pid for runner in runners]})
                self._forget(child)
            case "await_end":
                self._await_end.append(child)
                self._collect()
            case kind:
                child.kind, child.pid = kind, self._fork(order)
                self._answer(child, {"pid": child.pid})

    def _fork(self, order: dict[str, Any]) -> int:
        # A child must stop in order even if SIGTERM arrives before its handler is installed.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            return pid
        code = 70
        try:
            self._leave_server()
            code = run_child(order)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _leave_server(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for connection in (self._listener, self._wakeup, self._wakeup_writer, *self._children):
            connection.close()

    def _kill(self, child: Child) -> None:
        os.kill(child.pid or 0, signal.SIGKILL)
        os.waitpid(child.pid or 0, 0)

    def _answer(self, child: Child, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            child.connection.sendall(json.dumps(answer).encode() + b"\n")

    def _forget(self, child: Child) -> None:
        self._selector.unregister(child.connection)
        del self._children[child.connection]
        child.connection.close()


def run_child(order: dict[str, Any]) -> int:
    """Run the ordered program in the child, and return its exit code."""
    os.environ.update(order["environment"])
    if order["kind"] == "runner":
        from nanoclaw_runner.__main__ import main

        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return int(main())
    program = importlib.import_module("sandbox_starter" if order["kind"] == "starter" else "host_process")
    return int(program.main(order))


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in ("nanoclaw_provider_mock.provider", "nanoclaw_runner.runner", "host_process", "sandbox_starter"):
        importlib.import_module(name)  # import once for all children
    nanoclaw_runner.plugins.load_installed()
    server = ForkServer(Path(sys.argv[1]))
    print("ready", flush=True)
    server.run()


if __name__ == "__main__":
    main()
