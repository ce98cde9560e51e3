"""A process that has everything imported and makes hosts and runners by forking, so that a kill costs milliseconds.

What it makes are processes like any other; only their start is shared. Run as `python zygote.py SOCKET`. One
connection is one child: a JSON line says what it is to be, `{"pid": …}` and at its end `{"code": …}` come back, and a
connection that closes first ends its child at once, as a leash does.
"""

import contextlib
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


class Child:
    """A process and who asked for it; `pid` is None until the order has come."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.kind = ""
        self.pid: int | None = None
        self.received = b""


class Zygote:
    """Takes orders until its own standard input closes."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._children: dict[socket.socket, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._died, self._died_inside = socket.socketpair()
        self._died_inside.setblocking(False)
        signal.set_wakeup_fd(self._died_inside.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for readable in (self._listening, self._died, sys.stdin):
            self._selector.register(readable, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    for child in self._alive():
                        os.kill(child.pid or 0, signal.SIGKILL)
                    return
                if key.fileobj is self._listening:
                    connection, _ = self._listening.accept()
                    self._children[connection] = Child(connection)
                    self._selector.register(connection, selectors.EVENT_READ)
                elif key.fileobj is self._died:
                    self._died.recv(4096)
                    self._bury()
                elif key.fileobj in self._children:
                    self._hear(self._children[key.fileobj])

    def _alive(self, kind: str = "") -> Iterator[Child]:
        return (one for one in list(self._children.values()) if one.pid is not None and kind in ("", one.kind))

    def _bury(self) -> None:
        for child in self._alive():
            pid, status = os.waitpid(child.pid or 0, os.WNOHANG)
            if pid:
                self._tell(child, {"code": os.waitstatus_to_exitcode(status)})
                self._forget(child)

    def _hear(self, child: Child) -> None:
        try:
            received = child.connection.recv(65_536)
        except ConnectionError:
            received = b""
        child.received += received
        if not received:
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
            self._forget(child)
        elif child.received.endswith(b"\n"):
            self._obey(child, json.loads(child.received))

    def _obey(self, child: Child, order: dict[str, Any]) -> None:
        if order["kind"] == "reap":
            left = list(self._alive("runner"))
            for one in left:
                os.kill(one.pid or 0, signal.SIGKILL)
                os.waitpid(one.pid or 0, 0)
                self._forget(one)
            self._tell(child, {"reaped": len(left)})
            self._forget(child)
            return
        if order["kind"] == "list":
            self._tell(child, {"pids": [one.pid for one in self._alive("runner")]})
            self._forget(child)
            return
        child.kind, child.pid = order["kind"], self._fork(order)
        self._tell(child, {"pid": child.pid})

    def _fork(self, order: dict[str, Any]) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            self._become_nobody()
            code = run_child(order)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _become_nobody(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for one in (self._listening, self._died, self._died_inside, *self._children):
            one.close()

    def _tell(self, child: Child, what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            child.connection.sendall(json.dumps(what).encode() + b"\n")

    def _forget(self, child: Child) -> None:
        self._selector.unregister(child.connection)
        del self._children[child.connection]
        child.connection.close()


def run_child(order: dict[str, Any]) -> int:
    os.environ.update(order["environment"])
    if order["kind"] == "runner":
        from nanoclaw_runner.__main__ import main

        return int(main())
    import victim

    return victim.main(order)


def main() -> None:
    for name in ("nanoclaw_provider_mock.provider", "nanoclaw_runner.runner", "victim"):
        importlib.import_module(name)  # everything a child needs, once
    nanoclaw_runner.plugins.load_installed()
    zygote = Zygote(Path(sys.argv[1]))
    print("ready", flush=True)
    zygote.run()


if __name__ == "__main__":
    main()
