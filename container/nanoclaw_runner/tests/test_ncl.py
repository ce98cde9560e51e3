"""`ncl` in a sandbox: the real program, asking a real runner, whose host is played."""

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
from nanoclaw_runner.activity import ActivityTracker
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.ncl import REQUESTS, frame_of
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.plugins import RunnerPlugins, load_installed
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.testing import HostSide
from nanoclaw_runner.testing.host_side import PATIENCE_S
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire import inbound
from nanoclaw_wire.frame_server import LINE_BYTES
from nanoclaw_wire.inbound import Kind
from nanoclaw_wire.outbound import AckStatus, OutKind
from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE, short_path

SLOW = {"script": json.dumps([{"reply": "never", "delay_s": 600}])}


class Sandbox:
    """A runner in this process, and what a program that the provider starts would find.

    Args:
        host: Plays the host.
    """

    def __init__(self, host: HostSide) -> None:
        self.host = host
        self.environment: Mapping[str, str] = {}
        self._connections: list[Connection] = []

    @property
    def plugins(self) -> RunnerPlugins:
        """The mock provider under another name, which notes its environment."""
        mock = load_installed().offer("mock")

        def connect(context: Any) -> Any:
            self.environment = context.environment
            return mock.connect(context)

        return RunnerPlugins(
            loaded=(RunnerPlugin(name="noting", providers=[ProviderOffer(name="mock", connect=connect)]),)
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
        """Start `ncl`, found as a shell would find it."""
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
    """Return the action rows of `ncl` so far, as the host reads them."""
    contents = [json.loads(row.content) for row in host.sent() if row.kind is OutKind.ACTION]
    return [content for content in contents if content["action"] == "ncl"]


async def requests(host: HostSide, count: int) -> list[Mapping[str, Any]]:
    return await host.until(lambda: found if len(found := asked(host)) >= count else [])


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


def test_a_verb_is_asked_of_the_host_by_one_action_row_whose_answer_is_shown_and_acknowledged(tmp_path):
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


def test_a_refusal_comes_with_its_code_its_exit_code_and_the_id_of_whoever_asked(tmp_path):
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


def test_it_is_answered_while_a_turn_runs(tmp_path):
    async def scenario(sandbox):
        host = sandbox.host
        async with sandbox.running():
            message = host.say("slow")
            await host.until(lambda: host.acknowledged() == {message: AckStatus.PROCESSING})
            ncl = await sandbox.start("status")
            answer(host, (await requests(host, 1))[0], ok=True, data="well")
            assert await ended(ncl) == (0, "well\n", "")

    in_sandbox(tmp_path, scenario, SLOW)


def test_without_a_bell_it_is_answered_too(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running(idle_poll_s=0.05):
            ncl = await sandbox.start("status")
            answer(sandbox.host, (await requests(sandbox.host, 1))[0], ok=True, data="well")
            assert await ended(ncl) == (0, "well\n", "")

    in_sandbox(tmp_path, scenario, with_bell=False)


def test_whoever_asks_at_the_same_time_gets_the_own_answer(tmp_path):
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


def test_one_connection_may_ask_many_times(tmp_path):
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
    ids=["no JSON", "no object", "another shape", "half a character", "no UTF-8", "too deep"],
)
def test_a_bad_frame_is_answered_and_asks_nobody(tmp_path, line):
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


def test_invariant_07_a_frame_that_says_who_asks_is_refused_in_the_sandbox_too(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            connection = await sandbox.connect()
            await connection.send(b'{"id": "1", "words": ["x"], "options": {}, "caller": {"operator": true}}')
            assert "caller" in (await connection.heard())["error"]["message"]
            assert asked(sandbox.host) == []

    in_sandbox(tmp_path, scenario)


def test_a_line_that_is_too_long_is_answered_before_the_end(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            ncl = await sandbox.start("x", *["--text", "x" * 120_000] * (LINE_BYTES // 120_000 + 1))
            code, out, errors = await ended(ncl)
            assert (code, out) == (2, "")
            assert errors == f"error (transport-error): bad frame: longer than {LINE_BYTES} bytes\n"
            assert asked(sandbox.host) == []

    in_sandbox(tmp_path, scenario)


def test_more_than_so_many_at_a_time_are_refused(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running():
            waiting = [await sandbox.connect() for _ in range(REQUESTS)]
            for connection in waiting:
                await connection.ask("q", "x")
            made = await requests(sandbox.host, REQUESTS)
            one_more = await sandbox.connect()
            await one_more.ask("late", "x")
            heard = await one_more.heard()
            assert heard["error"]["message"].startswith(f"{REQUESTS} requests are under way already")
            answer(sandbox.host, made[0], ok=True)
            assert (await waiting[0].heard())["ok"]
            await one_more.ask("again", "x")
            await requests(sandbox.host, REQUESTS + 1)

    in_sandbox(tmp_path, scenario)


def test_a_host_that_does_not_answer_is_told_with_exit_code_2_and_what_to_do(tmp_path):
    async def scenario(sandbox):
        async with sandbox.running(ncl_answer_s=0.05):
            code, out, errors = await ended(await sandbox.start("groups", "list"))
            assert (code, out) == (2, "")
            assert errors.startswith("error (transport-error): the host did not answer within 0.05 s, and may still do")
            late = answer(sandbox.host, asked(sandbox.host)[0], ok=True)
            assert await sandbox.host.settled(late) == [AckStatus.COMPLETED]

    in_sandbox(tmp_path, scenario)


def test_warning_28_a_request_of_a_program_that_was_killed_is_made_once_and_its_answer_is_settled(tmp_path):
    async def scenario(sandbox):
        host = sandbox.host
        async with sandbox.running():
            killed = await sandbox.start("groups", "restart")
            [request] = await requests(host, 1)
            killed.kill()
            await killed.wait()
            assert await host.settled(answer(host, request, ok=True)) == [AckStatus.COMPLETED]
            left = await sandbox.start("groups", "restart", "--again")
            [_first, second] = await requests(host, 2)
        await ended(left)
        late = answer(host, second, ok=True)  # its runner has ended, too
        async with sandbox.running():
            assert await host.settled(late) == [AckStatus.COMPLETED]
        assert [one["request_id"] for one in asked(host)] == [request["request_id"], second["request_id"]]
        host.note_acknowledged()
        assert inbound.pending(host.inbound, now="9999", fresh=True, without=set(), limit=9) == []

    in_sandbox(tmp_path, scenario)


def test_whoever_asks_while_the_runner_ends_hears_that_it_did(tmp_path):
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


def test_the_program_and_its_socket_are_for_their_owner_and_go_with_the_runner(tmp_path):
    found: list[Path] = []

    async def scenario(sandbox):
        async with sandbox.running():
            found.append(Path(sandbox.environment["PATH"].split(os.pathsep)[0]))
            assert sorted(os.listdir(found[0])) == ["ncl", "ncl.sock"]
            assert stat.S_IMODE(os.lstat(found[0]).st_mode) == 0o700

    in_sandbox(tmp_path, scenario)
    assert not found[0].exists()


@pytest.mark.parametrize("scope", ["disabled", "unheard-of"])
def test_invariant_08_without_a_scope_there_is_neither_program_nor_socket_nor_variable(tmp_path, monkeypatch, scope):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    async def scenario(sandbox):
        async with sandbox.running():
            assert sandbox.environment == sandbox.host.environment()
            assert os.listdir(tmp_path / "temporary") == []

    in_sandbox(tmp_path / "session", scenario, cli_scope=scope)


def test_an_answer_that_came_but_was_not_read_is_settled_when_nobody_waits_any_longer(tmp_path):
    async def scenario(sandbox):
        host = sandbox.host
        outbox = Outbox(host.files.outbound_db, ring=lambda: None, activity=ActivityTracker())
        inbox = Inbox(host.files.inbound_db, outbox, keep_open=lambda: True, keep=10)
        outbox.take_over()
        inbox.expect_answer("req-1")
        row = answer(host, {"request_id": "req-1"}, ok=True)
        assert inbox.look() == []
        assert host.acknowledged() == {}
        inbox.forget_answer("req-1")
        assert host.acknowledged() == {row: AckStatus.COMPLETED}
        inbox.close()
        outbox.close()

    in_sandbox(tmp_path, scenario)


def test_an_error_of_the_host_itself_is_the_frames_error():
    error = {"code": "unknown-command", "message": "there is no action 'ncl'"}
    assert frame_of({"ok": False, "error": error}, "q") == {"id": "q", "ok": False, "error": error}


@pytest.mark.parametrize("content", [{}, {"ok": True}, {"ok": True, "data": []}, {"ok": True, "data": {"ok": 1}}])
def test_an_answer_that_is_no_frame_is_told_as_such(content):
    frame = frame_of(content, "q")
    assert (frame["id"], frame["ok"], frame["error"]["code"]) == ("q", False, "transport-error")
