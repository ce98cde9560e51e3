"""Tests of `ncl` in a sandbox: the real program and a real runner, with a played host."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.ncl import MAX_REQUESTS, frame_of
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.plugins import RunnerPlugins, load_installed
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.testing import HostSide
from nanoclaw_runner.testing.host_side import PATIENCE_S
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire import inbound
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.frame_server import LINE_BYTES
from nanoclaw_wire.inbound import Kind
from nanoclaw_wire.outbound import AckStatus, OutKind
from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE, short_path

SLOW = {"script": json.dumps([{"reply": "never", "delay_s": 600}])}


class Sandbox:
    """A runner in this process, and the environment of programs that its provider starts.

    Args:
        host: Plays the host.
    """

    def __init__(self, host: HostSide) -> None:
        self.host = host
        self.environment: Mapping[str, str] = {}
        self._connections: list[Connection] = []

    @property
    def plugins(self) -> RunnerPlugins:
        """A plugin with the mock provider, which records its environment."""
        mock = load_installed().offer("mock")

        def connect(context: Any) -> Any:
            self.environment = context.environment
            return mock.connect(context)

        return RunnerPlugins(
            loaded=(RunnerPlugin(name="recording", providers=[ProviderOffer(name="mock", connect=connect)]),)
        )

    @asynccontextmanager
    async def running(self, **timeouts: float) -> AsyncIterator[Sandbox]:
        async with self.host.running(plugins=self.plugins, timeouts=Timeouts(**timeouts)):
            await self.host.until(lambda: self.environment)
            yield self
            for connection in self._connections:
                connection.writer.close()
                await connection.writer.wait_closed()

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """Start `ncl` through a shell, which finds it on PATH."""
        return await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", 'exec ncl "$@"', "sh", *words,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def connect(self) -> Connection:
        with short_path(Path(self.environment[NCL_SOCKET_VARIABLE])) as path:
            connection = Connection(*await asyncio.open_unix_connection(path, limit=LINE_BYTES))
        self._connections.append(connection)
        return connection


@frozen
class Connection:
    """A program that speaks to the socket itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, line: bytes) -> None:
        self.writer.write(line + b"\n")
        await self.writer.drain()

    async def ask(self, request_id: str, *words: str) -> None:
        await self.send(json.dumps({"id": request_id, "words": words, "options": {}}).encode())

    async def heard(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.reader.readuntil())


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(PATIENCE_S):
        out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


def asked(host: HostSide) -> list[Mapping[str, Any]]:
    """Return the action rows of `ncl` so far."""
    contents = [json.loads(row.content) for row in host.sent() if row.kind is OutKind.ACTION]
    return [content for content in contents if content["action"] == "ncl"]


async def requests(host: HostSide, count: int) -> list[Mapping[str, Any]]:
    return await host.until(lambda: actions if len(actions := asked(host)) >= count else [])


def answer(host: HostSide, request: Mapping[str, Any], **frame: Any) -> str:
    """Answer an action with a frame, as the host does; return the row's id."""
    data = {"id": "host", **frame}
    content = {"type": "response", "request_id": request["request_id"], "ok": True, "data": data}
    return host.put(json.dumps(content), kind=Kind.SYSTEM, channel=None, room=None, trigger=False)


def in_sandbox(tmp_path: Path, scenario: Any, options: Mapping[str, str] | None = None, **config: Any) -> None:
    async def run() -> None:
        async with HostSide(tmp_path, options=options or {"echo": "true"}, **config) as host:
            await scenario(Sandbox(host))

    asyncio.run(run())


def test_ncl_verb_becomes_one_action_row(tmp_path):
    """The program prints the host's answer, and the runner acknowledges it."""

    async def scenario(sandbox):
        async with sandbox.running():
            ncl = await sandbox.start("groups", "list", "--limit=2")
            [request] = await requests(sandbox.host, 1)
            assert request["arguments"] == {"words": ["groups", "list"], "options": {"limit": "2"}}
            row = answer(sandbox.host, request, ok=True, data=[{"id": "ag-1", "name": "Ada"}])
            assert await ended(ncl) == (0, "id    name\n────  ────\nag-1  Ada\n", "")
            assert await sandbox.host.settled(row) == [AckStatus.COMPLETED]
            assert len(sandbox.host.sent()) == 1

    in_sandbox(tmp_path, scenario)


def test_ncl_refusal_has_its_code_and_exit_status(tmp_path):
    """The frame has the id of the program's request."""

    async def scenario(sandbox):
        async with sandbox.running():
            ncl = await sandbox.start("groups", "delete", "ag-1", "--json")
            [request] = await requests(sandbox.host, 1)
            error = {"code": "approval-pending", "message": "apr-1 waits for a human"}
            answer(sandbox.host, request, ok=False, error=error)
            code, out, errors = await ended(ncl)
            assert (code, errors) == (1, "")
            assert json.loads(out) == {"id": "cli", "ok": False, "error": error}

    in_sandbox(tmp_path, scenario)


def test_ncl_during_a_turn_is_answered(tmp_path):
    async def scenario(sandbox):
        host = sandbox.host
        async with sandbox.running():
            message = host.say("slow")
            await host.until(lambda: host.acknowledged() == {message: AckStatus.PROCESSING})
            ncl = await sandbox.start("status")
            answer(host, (await requests(host, 1))[0], ok=True, data="well")
            assert await ended(ncl) == (0, "well\n", "")

    in_sandbox(tmp_path, scenario, SLOW)


def test_ncl_without_a_doorbell_is_answered(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running(idle_poll_s=0.05):
            ncl = await sandbox.start("status")
            answer(sandbox.host, (await requests(sandbox.host, 1))[0], ok=True, data="well")
            assert await ended(ncl) == (0, "well\n", "")

    in_sandbox(tmp_path, scenario, with_bell=False)


def test_ncl_concurrent_requests_get_their_own_answers(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            connections = [await sandbox.connect() for _ in range(8)]
            for number, connection in enumerate(connections):
                await connection.ask(f"q{number}", str(number))
            for request in reversed(await requests(sandbox.host, 8)):
                answer(sandbox.host, request, ok=True, data=request["arguments"]["words"][0])
            heard = [await connection.heard() for connection in connections]
            assert heard == [{"id": f"q{number}", "ok": True, "data": str(number)} for number in range(8)]

    in_sandbox(tmp_path, scenario)


def test_ncl_connection_serves_several_requests(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            connection = await sandbox.connect()
            for number in range(3):
                await connection.ask(f"q{number}", "x")
                answer(sandbox.host, (await requests(sandbox.host, number + 1))[number], ok=True, data="y" * 200_000)
                heard = await connection.heard()
                assert (heard["id"], len(heard["data"])) == (f"q{number}", 200_000)

    in_sandbox(tmp_path, scenario)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b'{"id": "1", "words": "groups", "options": {}}',
        b'{"id": "1", "words": ["\\ud800"], "options": {}}',
        b'{"id": "1", "words": ["\xff"], "options": {}}',
        b"[" * 100_000,
    ],
    ids=["not JSON", "not an object", "wrong types", "lone surrogate", "not UTF-8", "too deep"],
)
def test_ncl_bad_frame_is_refused_without_an_action(tmp_path, line):
    async def scenario(sandbox):
        async with sandbox.running():
            connection = await sandbox.connect()
            await connection.send(line)
            heard = await connection.heard()
            assert (heard["id"], heard["error"]["code"]) == ("unknown", "transport-error")
            assert "bad frame: " in heard["error"]["message"]
            await connection.ask("q", "still", "there")
            [request] = await requests(sandbox.host, 1)
            assert request["arguments"]["words"] == ["still", "there"]

    in_sandbox(tmp_path, scenario)


@pytest.mark.invariant(number=7)
def test_ncl_frame_with_a_caller_is_refused(tmp_path):
    """The sandbox must not choose its own identity."""

    async def scenario(sandbox):
        async with sandbox.running():
            connection = await sandbox.connect()
            await connection.send(b'{"id": "1", "words": ["x"], "options": {}, "caller": {"operator": true}}')
            assert "caller" in (await connection.heard())["error"]["message"]
            assert asked(sandbox.host) == []

    in_sandbox(tmp_path, scenario)


def test_ncl_too_long_line_is_refused_before_its_end(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            ncl = await sandbox.start("x", *["--text", "x" * 120_000] * (LINE_BYTES // 120_000 + 1))
            code, out, errors = await ended(ncl)
            assert (code, out) == (2, "")
            assert errors == f"error (transport-error): bad frame: longer than {LINE_BYTES} bytes\n"
            assert asked(sandbox.host) == []

    in_sandbox(tmp_path, scenario)


def test_ncl_too_many_open_requests_are_refused(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            waiting = [await sandbox.connect() for _ in range(MAX_REQUESTS)]
            for connection in waiting:
                await connection.ask("q", "x")
            made = await requests(sandbox.host, MAX_REQUESTS)
            another = await sandbox.connect()
            await another.ask("late", "x")
            heard = await another.heard()
            assert heard["error"]["message"].startswith(f"{MAX_REQUESTS} requests are open")
            answer(sandbox.host, made[0], ok=True)
            assert (await waiting[0].heard())["ok"]
            await another.ask("again", "x")
            await requests(sandbox.host, MAX_REQUESTS + 1)

    in_sandbox(tmp_path, scenario)


def test_ncl_silent_host_exits_2_with_advice(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running(ncl_answer_s=0.05):
            code, out, errors = await ended(await sandbox.start("groups", "list"))
            assert (code, out) == (2, "")
            assert errors.startswith("error (transport-error): the host did not answer within 0.05 s and may still")
            late = answer(sandbox.host, asked(sandbox.host)[0], ok=True)
            assert await sandbox.host.settled(late) == [AckStatus.COMPLETED]

    in_sandbox(tmp_path, scenario)


@pytest.mark.defect(number=28)
def test_ncl_killed_program_asks_once(tmp_path):
    """Its request is not repeated, and the answer is acknowledged."""

    async def scenario(sandbox):
        host = sandbox.host
        async with sandbox.running():
            killed = await sandbox.start("groups", "restart")
            [request] = await requests(host, 1)
            killed.kill()
            await killed.wait()
            assert await host.settled(answer(host, request, ok=True)) == [AckStatus.COMPLETED]
            waiting = await sandbox.start("groups", "restart", "--again")
            [_first, second] = await requests(host, 2)
        await ended(waiting)
        late = answer(host, second, ok=True)  # its runner has ended, as well
        async with sandbox.running():
            assert await host.settled(late) == [AckStatus.COMPLETED]
        assert [action["request_id"] for action in asked(host)] == [request["request_id"], second["request_id"]]
        host.note_acknowledged()
        assert inbound.pending(host.inbound, now="9999", fresh=True, without=set(), limit=9) == []

    in_sandbox(tmp_path, scenario)


def test_ncl_runner_ends_reports_the_closed_connection(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            ncl = await sandbox.start("groups", "list")
            await requests(sandbox.host, 1)
        code, _out, errors = await ended(ncl)
        assert code == 2
        assert errors.startswith(
            "error (transport-error): the runner of this sandbox closed the connection before it answered. It may"
        )

    in_sandbox(tmp_path, scenario)


def test_ncl_files_are_private_and_removed_with_the_runner(tmp_path):
    directories: list[Path] = []

    async def scenario(sandbox):
        async with sandbox.running():
            directories.append(Path(sandbox.environment["PATH"].split(os.pathsep)[0]))
            assert sorted(os.listdir(directories[0])) == ["ncl", "ncl.sock"]
            assert stat.S_IMODE(os.lstat(directories[0]).st_mode) == 0o700

    in_sandbox(tmp_path, scenario)
    assert not directories[0].exists()


@pytest.mark.parametrize("scope", ["disabled", "unknown"])
@pytest.mark.invariant(number=8)
def test_ncl_without_a_scope_leaves_no_trace(tmp_path, monkeypatch, scope):
    """The sandbox gets neither program nor socket nor variable."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    async def scenario(sandbox):
        async with sandbox.running():
            assert sandbox.environment == sandbox.host.environment()
            assert os.listdir(tmp_path / "temporary") == []

    in_sandbox(tmp_path / "session", scenario, cli_scope=scope)


def test_inbox_forget_answer_settles_an_unread_answer(tmp_path):
    async def scenario(sandbox):
        host = sandbox.host
        outbox = Outbox(host.files.outbound_db, DoorbellClient(host.files.bell))
        inbox = Inbox(host.files.inbound_db, outbox, max_context=10)
        outbox.acquire()
        inbox.expect_answer("req-1")
        row = answer(host, {"request_id": "req-1"}, ok=True)
        assert inbox.poll(reopen=False) == []
        assert host.acknowledged() == {}
        inbox.forget_answer("req-1")
        assert host.acknowledged() == {row: AckStatus.COMPLETED}
        inbox.close()
        outbox.close()

    in_sandbox(tmp_path, scenario)


def test_frame_of_host_error_carries_that_error():
    error = {"code": "unknown-command", "message": "there is no action 'ncl'"}
    assert frame_of({"ok": False, "error": error}, "q") == {"id": "q", "ok": False, "error": error}


@pytest.mark.parametrize("content", [{}, {"ok": True}, {"ok": True, "data": []}, {"ok": True, "data": {"ok": 1}}])
def test_frame_of_other_answer_is_a_transport_error(content):
    frame = frame_of(content, "q")
    assert (frame["id"], frame["ok"], frame["error"]["code"]) == ("q", False, "transport-error")
