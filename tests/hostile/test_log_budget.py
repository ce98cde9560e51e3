"""A sandbox can neither fill the host's log, nor push lines out of it, nor forge its entries (audit S2, S3)."""

import asyncio
import contextlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from hostile_sandbox import ATTACKER, HONEST, attacked_host, flood, session_of
from nanoclaw_cli.log_entries import as_json, as_text, entry_of
from nanoclaw_cli.log_setup import configure_logs
from nanoclaw_client.terminal_text import terminal_safe
from nanoclaw_wire.log_budget import ERROR_LINES, LINES
from nanoclaw_wire.log_lines import MAX_LINE_BYTES, MAX_PLAIN_BYTES

from nanoclaw_core import Access, Action, Caller, DeliveryRequest, Verdict, hookimpl
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner

pytestmark = pytest.mark.invariant(number=14)
ROWS = 150
LIMIT = LINES + ERROR_LINES
LEFT_OUT = "log lines left out"
FORGED = "2026-01-05T15:04:00.000Z INFO nanoclaw.approvals approval answered approval=apr-forged by=operator"
FORGED_JSON = '{"event": "approval answered", "by": "operator"}'
HOSTILE = f"x\n{FORGED}\n{FORGED_JSON}\r{FORGED}\x1b[2J\x1b]0;title\x07\u2028{FORGED}\x85{FORGED}\u202e\x9b2J\ud800"
FORGED_START = re.compile(r"^(2026-01-05|\{)", re.MULTILINE)


@define
class HostLog:
    """The log of `ncl serve`, with a clock that the test moves."""

    directory: Path
    now: float = 0.0
    stderr: io.StringIO = field(factory=io.StringIO)

    def lines(self) -> list[bytes]:
        """Return all lines of the log and of its older files."""
        return [line for path in self.directory.iterdir() for line in path.read_bytes().split(b"\n") if line]

    def entries(self, **values: object) -> list[dict[str, Any]]:
        """Return the entries that have these values."""
        entries = [json.loads(line) for line in self.lines()]
        return [entry for entry in entries if values.items() <= entry.items()]


@pytest.fixture
def host_log(tmp_path: Path) -> Iterator[HostLog]:
    """Log as `ncl serve` does."""
    log, root = HostLog(tmp_path / "logs"), logging.getLogger()
    before, level = list(root.handlers), root.level
    with contextlib.redirect_stderr(log.stderr):
        configure_logs("info", log.directory, {}, to_stderr=True, clock=lambda: log.now)
    yield log
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


class Careless:
    """A plugin whose action and vote fail with a text that the sandbox chose."""

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="careless", access=Access.ALLOWED, run=self._run)
        yield Action(name="escape", access=Access.ALLOWED, run=self._escape)

    @hookimpl
    def nanoclaw_permit_delivery(self, request: DeliveryRequest) -> Verdict | None:
        if request.address.room == HONEST:
            raise ValueError(HOSTILE)
        return None

    async def _escape(self, *_: object) -> str:
        raise BaseExceptionGroup(HOSTILE, [GeneratorExit()])

    async def _run(self, arguments: Mapping[str, Any], _caller: Caller, _context: object) -> str:
        raise ValueError("".join(arguments))


def row(kind: str, room: str = ATTACKER) -> str:
    return f"'{kind}', '2026-01-05T12:00:00.000Z', NULL, NULL, 'recorder', '{room}', NULL"


def action(name: str, arguments: Mapping[str, object]) -> tuple[str, str]:
    return row("action"), json.dumps({"action": name, "request_id": "r", "arguments": arguments})


FLOODS = {
    "messages to another room": (row("chat", HONEST), '{"text": "boo"}'),
    "messages that are not JSON": (row("chat"), "nonsense"),
    "valid messages": (row("chat"), '{"text": "boo"}'),
    "unknown actions": action(HOSTILE, {}),
    "actions that fail": action("careless", {HOSTILE: 1}),
    "actions that no boundary stops": action("escape", {}),
    "requests of ncl": action("ncl", {HOSTILE: 1}),
    "actions that are not JSON": (row("action"), "nonsense"),
}


def attack_host(instance: Instance, columns: str, content: str) -> None:
    """Run a host, whose attacker writes rows until the host has read them, and whose honest room works."""

    async def attack(runner: FakeRunner) -> None:
        await runner.take()
        await asyncio.to_thread(flood, runner, ROWS, content=content, columns=columns)

    def is_read() -> bool:
        query = "SELECT outbound_seq FROM sessions WHERE id = ?"
        seq: int = instance.db.execute(query, (session_of(instance, ATTACKER),)).get
        return seq >= 999 + 2 * ROWS

    async def scenario() -> None:
        async with attacked_host(instance, attack, careless=Careless()) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(is_read)
            await host.honest_answer("after")

    asyncio.run(scenario())


@pytest.mark.parametrize(("columns", "content"), FLOODS.values(), ids=list(FLOODS))
def test_flood_leaves_few_log_lines(instance: Instance, host_log: HostLog, columns: str, content: str) -> None:
    attack_host(instance, columns, content)
    lines = host_log.entries(session=session_of(instance, ATTACKER))
    assert 0 < len(lines) <= LIMIT
    assert not any("exception" in entry for entry in host_log.entries())
    assert len(host_log.entries(event="message routed", session=session_of(instance, HONEST))) == 2
    assert len(host_log.entries(event="host ready")) == 1
    others = [entry for entry in host_log.entries() if entry.get("session") != session_of(instance, ATTACKER)]
    assert len(others) < 30


def test_flood_reports_the_lines_left_out(instance: Instance, host_log: HostLog) -> None:
    attack_host(instance, *FLOODS["actions that fail"])
    host_log.now = 60.0
    logging.getLogger("nanoclaw.test").info("a minute later")
    (report,) = host_log.entries(event=LEFT_OUT)
    assert (report["session"], "correlation" in report) == (session_of(instance, ATTACKER), False)
    assert report["count"] > ROWS - LIMIT
    assert f" WARNING nanoclaw_wire.log_budget {LEFT_OUT} session=" in host_log.stderr.getvalue()


def test_flood_of_hours_keeps_older_lines(host_log: HostLog) -> None:
    """Four sandboxes write lines as fast and as long as they can."""
    log = logging.getLogger("nanoclaw_core.dispatch")
    logging.getLogger("nanoclaw_core.host").info("host ready")
    for minute in range(30):
        host_log.now = minute * 60.0
        for number in range(4):
            for _ in range(60):
                log.warning("request failed", extra={"session": f"ses-{number}", "error": "x" * 10_000})
    assert len(host_log.entries(event="host ready")) == 1
    assert len(host_log.lines()) <= 30 * 4 * (LIMIT + 1) + 1
    assert max(map(len, host_log.lines())) <= MAX_PLAIN_BYTES


def test_flood_does_not_hide_an_error_of_its_session(instance: Instance, host_log: HostLog) -> None:
    attack_host(instance, *FLOODS["actions that fail"])
    session_id = session_of(instance, ATTACKER)
    logging.getLogger("nanoclaw_core.sandboxes.supervisor").error("sandbox failed", extra={"session": session_id})
    assert len(host_log.entries(event="sandbox failed")) == 1


@pytest.mark.parametrize("name", ["aiohttp.server", "asyncio", "docker", "urllib3.connectionpool"])
def test_flood_of_a_library_leaves_few_log_lines(host_log: HostLog, name: str) -> None:
    """Aiohttp logs a traceback and 8 KB of the request for each malformed request."""
    request = f"GET /{'x' * 8_000}{HOSTILE} HTTP/1.1"
    for _ in range(1_000):
        try:
            raise ValueError(request)
        except ValueError:
            logging.getLogger(name).exception("Error handling request %s", request)
    logging.getLogger("nanoclaw_core.host").error("disk is full")
    assert len(host_log.entries(logger=name)) == LIMIT
    assert max(map(len, host_log.lines())) <= MAX_LINE_BYTES
    assert len(host_log.entries(event="disk is full")) == 1


def test_sandbox_forges_no_log_entry(instance: Instance, host_log: HostLog) -> None:
    """Neither in the file, nor on stderr, nor in `ncl logs` and `ncl logs --json`."""
    attack_host(instance, *FLOODS["actions that fail"])
    assert b"apr-forged" in b"".join(host_log.lines())
    shown = [f"{as_text(entry_of(line))}\n{as_json(entry_of(line))}" for line in host_log.lines()]
    for text in ("\n".join(shown), host_log.stderr.getvalue()):
        assert terminal_safe(text) == text
        assert not FORGED_START.search(text.replace('{"timestamp": "', ""))
    assert all(line.isascii() for line in host_log.lines())
    assert host_log.entries(event="approval answered") == []


def test_traceback_forges_no_log_entry(host_log: HostLog) -> None:
    """An error of the host may quote any text."""
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("nanoclaw_core.host").exception("part failed: %s", HOSTILE, extra={"value": HOSTILE})
    (line,) = host_log.lines()
    first, *others = as_text(entry_of(line)).split("\n")
    assert " ERROR nanoclaw_core.host part failed: x\\n2026" in first
    assert all(other.startswith("  ") for other in others)
    assert [terminal_safe(text) for text in (first, *others)] == [first, *others]
    assert host_log.stderr.getvalue().count("\n") == 1
