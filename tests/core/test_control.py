"""The control socket: real connections to a real host that has no plugins."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from nanoclaw_wire.frame_server import LINE_BYTES

from nanoclaw_core import Host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import WAIT_S


@frozen
class Connection:
    """The client's end of a connection to the control socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, line: bytes) -> None:
        self.writer.write(line)
        await self.writer.drain()

    async def answer(self) -> Any:
        async with asyncio.timeout(WAIT_S):
            return json.loads(await self.reader.readline())

    async def ask(self, *words: str, **options: object) -> Any:
        await self.send(json.dumps({"id": "1", "words": words, "options": options}).encode() + b"\n")
        return await self.answer()


@asynccontextmanager
async def connected(instance: Instance) -> AsyncIterator[Connection]:
    """Run a host without plugins, and connect to it."""
    async with Host(instance.settings, environment={}, use_installed_plugins=False):
        reader, writer = await asyncio.open_unix_connection(instance.paths.control_socket)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()


def exchange(instance: Instance, *lines: bytes) -> list[Any]:
    async def scenario() -> list[Any]:
        async with connected(instance) as connection:
            answers = []
            for line in lines:
                await connection.send(line)
                answers.append(await connection.answer())
            return answers

    return asyncio.run(scenario())


def request(**more: object) -> bytes:
    return json.dumps({"id": "1", "words": ["status"], "options": {}} | more).encode() + b"\n"


def test_host_without_plugins_starts_answers_and_stops(bare_instance: Instance) -> None:
    async def scenario() -> tuple[Any, Any, Any]:
        async with connected(bare_instance) as connection:
            return await connection.ask("help"), await connection.ask("status"), await connection.ask("plugins", "list")

    help_answer, status, plugins = asyncio.run(scenario())
    assert [line["command"] for line in help_answer["data"]] == ["help", "plugins list", "status"]
    assert status["data"]["state"] == "running"
    assert (status["data"]["channels"], status["data"]["runtimes"], status["data"]["sandboxes"]) == ([], [], [])
    assert plugins["data"] == []
    assert not bare_instance.paths.control_socket.exists()
    assert bare_instance.db.execute("SELECT count(*) FROM migrations").get > 0


def test_connection_carries_several_requests(bare_instance: Instance) -> None:
    answers = exchange(bare_instance, request(id="a"), request(id="b", words=["nonsense"]), request(id="c"))
    assert [(answer["id"], answer["ok"]) for answer in answers] == [("a", True), ("b", False), ("c", True)]


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"\n",
        b"[]\n",
        b"null\n",
        b'{"id": "1"}\n',
        b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
        b'{"id": 1, "words": 7, "options": {}}\n',
    ],
)
def test_bad_frame_is_answered_and_connection_stays_open(bare_instance: Instance, line: bytes) -> None:
    bad, good = exchange(bare_instance, line, request())
    assert (bad["id"], bad["ok"], bad["error"]["code"]) == ("unknown", False, "transport-error")
    assert bad["error"]["message"].startswith("bad frame: ")
    assert good["ok"]


@pytest.mark.invariant(number=7)
@pytest.mark.parametrize("key", ["caller", "operator", "session_id", "agent_group_id"])
def test_frame_that_names_its_caller_is_refused(bare_instance: Instance, key: str) -> None:
    (answer,) = exchange(bare_instance, request(**{key: True}))
    assert answer["error"]["code"] == "transport-error"
    assert key in answer["error"]["message"]


def test_long_line_is_answered_and_connection_closed(bare_instance: Instance) -> None:
    async def scenario() -> tuple[Any, bytes]:
        async with connected(bare_instance) as connection:
            connection.writer.write(b"x" * (LINE_BYTES + 100_000))
            answer = await connection.answer()
            try:
                return answer, await connection.reader.read()
            except ConnectionResetError:
                return answer, b""

    answer, rest = asyncio.run(scenario())
    assert answer["error"]["message"] == f"bad frame: longer than {LINE_BYTES} bytes"
    assert rest == b""


def test_client_that_disconnects_mid_line_affects_no_other(bare_instance: Instance) -> None:
    async def scenario() -> Any:
        async with connected(bare_instance) as connection:
            _, writer = await asyncio.open_unix_connection(bare_instance.paths.control_socket)
            writer.write(b'{"id": ')
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return await connection.ask("status")

    assert asyncio.run(scenario())["ok"]


def test_host_stops_with_connected_clients(bare_instance: Instance) -> None:
    async def scenario() -> bytes:
        async with Host(bare_instance.settings, environment={}, use_installed_plugins=False):
            reader, writer = await asyncio.open_unix_connection(bare_instance.paths.control_socket)
            writer.write(request())
            await reader.readline()
        async with asyncio.timeout(WAIT_S):
            rest = await reader.read()
        writer.close()
        return rest

    assert asyncio.run(scenario()) == b""


@pytest.mark.invariant(number=7)
def test_control_socket_is_for_its_owner_only(bare_instance: Instance) -> None:
    async def scenario() -> int:
        async with connected(bare_instance):
            return stat.S_IMODE(bare_instance.paths.control_socket.stat().st_mode)

    assert asyncio.run(scenario()) == 0o600
    assert stat.S_IMODE(bare_instance.paths.run.stat().st_mode) == 0o700


def test_stale_control_socket_is_replaced(bare_instance: Instance) -> None:
    stale_socket = socket.socket(socket.AF_UNIX)
    stale_socket.bind(str(bare_instance.paths.control_socket))
    stale_socket.close()
    assert exchange(bare_instance, request())[0]["ok"]


def test_control_socket_works_below_a_long_path(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / ("d" * 100) / ("e" * 50))

    async def scenario() -> bool:
        async with Host(instance.settings, environment={}, use_installed_plugins=False):
            return instance.paths.control_socket.exists()

    assert asyncio.run(scenario())
    instance.db.close()
