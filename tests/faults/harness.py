"""An instance with host, runners and platform in separate processes, for tests that kill them."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, define, evolve, field, frozen
from journal import Tally, WrittenMessage, digest, session_of, tally
from message_stages import is_idle
from nanoclaw_wire import session_files
from platform_client import PlatformClient, mention
from process_tree import kill, processes_below

from nanoclaw_core.store import agents
from nanoclaw_core.store.messaging import EngageMode, SessionMode
from nanoclaw_core.testing.instance import Instance, make_instance

HAPPENS_WITHIN_S = 60.0
RECHECK_S = 0.2  # a delivery that fails for good writes no entry of the journal
HOST_STOPS_WITHIN_S = 30.0
REPORT = random.Random(9).randbytes(30_000)
REPORT_NAME = "report.bin"
EVERY = {"times": None}
# An agent answers with its whole prompt, so that the answer contains the token of each message.
ANSWER: dict[str, object] = {"reply": "{prompt}", **EVERY}
SCRIPT: list[dict[str, object]] = [
    {"match": "do:stream", "delay_s": 0.1, **ANSWER},
    {
        "match": "do:work",
        "tools": [
            {"name": "send_message", "arguments": {"text": "working on it"}},
            {"name": "add_reaction", "arguments": {"message_id": 2, "emoji": "eyes"}, "delay_s": 0.2},
        ],
        **ANSWER,
    },
    {
        "match": "do:report",
        "tools": [{"name": "send_file", "arguments": {"path": REPORT_NAME}, "delay_s": 0.1}],
        **ANSWER,
    },
    {
        "match": "do:edit",
        "tools": [{"name": "edit_message", "arguments": {"message_id": 3, "text": "edited"}, "delay_s": 0.1}],
        **ANSWER,
    },
    ANSWER,
]


@frozen(kw_only=True)
class Room:
    """A room of the platform, wired to its agents.

    Args:
        agents: The folders of the agent groups. Rooms of one agent-shared session name the same folder. Each of several
            agents answers only the messages that name it.
        threads: The threads in which people write. None is the room itself.
        is_group: True makes each thread a conversation of its own.
    """

    name: str
    agents: Sequence[str]
    threads: Sequence[str | None] = (None,)
    is_group: bool = False
    session_mode: SessionMode = SessionMode.SHARED


DIRECT = Room(name="direct", agents=("solo",))
HALL = Room(name="hall", agents=("hub",), threads=("x", "y"), session_mode=SessionMode.AGENT_SHARED)
YARD = Room(name="yard", agents=("hub",), threads=(None, "z"), session_mode=SessionMode.AGENT_SHARED)
TEAM = Room(name="team", agents=("crew",), threads=("t1", "t2"), is_group=True)
PAIR = Room(name="pair", agents=("ann", "bob"), threads=(None, "p"))


@define(kw_only=True)
class HostHandle:
    """A running host."""

    pid: int

    def kill(self) -> None:
        """Kill the host, and with it its runners."""
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the host to stop in order."""
        os.kill(self.pid, signal.SIGTERM)


@define(eq=False)
class Harness:
    """One instance and its platform.

    Start it with `async with harness.running():`, then hosts with `host()`.

    Args:
        directory: The home of the instance. Its path must be short enough for sockets.
        core: Settings of the core that differ from the harness's.
        script: The steps of every agent.
    """

    directory: Path
    rooms: Sequence[Room]
    core: Mapping[str, object] = field(factory=dict, kw_only=True)
    script: Sequence[Mapping[str, object]] = field(default=SCRIPT, kw_only=True)
    platform: PlatformClient = field(init=False)
    instance: Instance = field(init=False)
    hosts: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        agents_by_room = {room.name: room.agents for room in self.rooms}
        self.platform = PlatformClient(self.directory / "platform.sock", agents_by_room, self._agent_of)
        core = {"provider": "mock", "start_pauses_s": [0.01], "delivery_max_age_s": 86_400.0, **self.core}
        self.instance = make_instance(self.directory / "home", **core)
        self.instance.configure("mock", script=json.dumps(self.script))
        for room in self.rooms:
            self._wire(room)

    def limit_prompts(self, messages: int) -> None:
        """Limit the number of messages in a prompt."""
        for group in self.instance.groups():
            config = agents.config_of(self.instance.db, group.id)
            agents.save_config(self.instance.db, evolve(config, max_messages_per_prompt=messages))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the fork server and the platform, and require at the end that no process of a host is left."""
        program = Path(__file__).with_name("fork_server.py")
        temporary = self.directory / "tmp"  # a killed runner leaves its temporary files
        temporary.mkdir(exist_ok=True)
        with (self.directory / "stderr").open("ab") as log:
            server = await asyncio.create_subprocess_exec(
                sys.executable,
                str(program),
                str(self._fork_server),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "TMPDIR": str(temporary)},
            )
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            await self.platform.start()
            assert await server.stdout.readline() == b"ready\n", self.stderr_tail()
            try:
                yield
            finally:
                await self.platform.close()
            await self._await_end(server.pid)
        finally:
            kill(processes_below(server.pid))
            server.stdin.close()
            await server.wait()

    @contextlib.asynccontextmanager
    async def host(self, *, has_channel: bool = True) -> AsyncIterator[HostHandle]:
        """Run a host until it ends. The block must kill or terminate it.

        Args:
            has_channel: False starts the host without the channel's plugin.
        """
        self.hosts += 1
        order = {
            "kind": "host",
            "environment": {},
            "home": str(self.instance.settings.home),
            "core": asdict(self.instance.settings.core),
            "plugins": dict(self.instance.settings.plugins),
            "platform": str(self.platform.path),
            "has_channel": has_channel,
            "group_rooms": [room.name for room in self.rooms if room.is_group],
            "fork_server": str(self._fork_server),
            "log": str(self.directory / "log"),
        }
        reader, writer = await self._order(order)
        try:
            yield HostHandle(pid=json.loads(await reader.readline())["pid"])
            async with asyncio.timeout(HOST_STOPS_WITHIN_S):
                ended = json.loads(await reader.readline())
            assert ended["code"] in (0, -signal.SIGKILL), f"{ended} {self.stderr_tail()}"
        finally:
            writer.close()

    async def kill_runners(self) -> None:
        """Kill all runners."""
        for pid in await self.runner_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def runner_pids(self) -> list[int]:
        """Return the pids of all runners."""
        reader, writer = await self._order({"kind": "list"})
        pids: list[int] = json.loads(await reader.readline())["pids"]
        writer.close()
        return pids

    async def until(self, happened: Callable[[], bool], within_s: float = HAPPENS_WITHIN_S) -> None:
        """Wait until a condition holds.

        Check it after each entry of the platform's journal, and every `RECHECK_S`.
        """
        try:
            async with asyncio.timeout(within_s):
                while not happened():
                    self.platform.changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RECHECK_S):
                            await self.platform.changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"the condition did not hold within {within_s} s\n{self.count().table()}\n{self.stderr_tail()}"
            ) from None

    async def stop(self, host: HostHandle) -> None:
        """Stop a host in order once it is idle, because a delivery that a stop interrupts is left to the next host."""
        await self.until(self.is_idle)
        host.terminate()

    async def until_answered(self, *messages: WrittenMessage) -> None:
        """Wait until each of the messages has an answer."""
        await self.until(lambda: self.platform.is_answered(*messages))

    async def until_answered_or_failed(self, *messages: WrittenMessage) -> None:
        """Wait until each of the messages has an answer, and require that no delivery fails."""
        query = "SELECT id, attempts, last_error FROM deliveries WHERE status = 'failed'"

        def failed() -> list[tuple[object, ...]]:
            return self.instance.db.execute(query).fetchall()

        await self.until(lambda: self.platform.is_answered(*messages) or bool(failed()))
        assert not failed(), self.count().table()

    def is_idle(self) -> bool:
        """Return True if every message is settled and every delivery finished."""
        accepted = self.platform.accepted
        return all(message.id in accepted for message in self.platform.written.values()) and is_idle(self.instance)

    def count(self, *, keeps_token_order: bool = False) -> Tally:
        """Return the figures up to now."""
        platform = self.platform
        return tally(
            platform.written,
            platform.accepted,
            platform.delivered,
            dict(self._references()),
            broken_files=[*self._broken_incoming_files(), *self._broken_outgoing_files()],
            keeps_token_order=keeps_token_order,
        )

    def require_no_faults(self) -> None:
        """Require that each message was accepted and answered once in its place, or its people told.

        This closes the database.
        """
        figures = self.count()
        assert not [kind for kind, concerned in figures.faults.items() if concerned], f"faults\n{figures.table()}"
        assert figures.accepted == figures.written, figures.table()
        self.check_database()
        self.instance.db.close()

    def check_database(self) -> None:
        """Require that the central database agrees with the platform's journal."""
        rows = self.instance.db.execute("SELECT id, status, last_error FROM deliveries").fetchall()
        unsent = [f"{key} {status}: {error}" for key, status, error in rows if status != "sent"]
        assert not unsent, f"not sent: {unsent}"
        assert {key for key, *_ in rows} == {message.key for message in self.platform.delivered}
        assert self.instance.db.execute("PRAGMA integrity_check").get == "ok"

    def stderr_tail(self) -> str:
        """Return the end of the processes' standard error."""
        return (self.directory / "stderr").read_text()[-3000:]

    @property
    def _fork_server(self) -> Path:
        return self.directory / "fork.sock"

    async def _await_end(self, server: int) -> None:
        reader, writer = await self._order({"kind": "await_end"})
        try:
            async with asyncio.timeout(HOST_STOPS_WITHIN_S):
                assert json.loads(await reader.readline()) == {"left": 0}
        except TimeoutError:
            raise AssertionError(f"left behind: {[*processes_below(server)]}") from None
        finally:
            writer.close()

    async def _order(self, order: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self._fork_server))
        writer.write(json.dumps(order).encode() + b"\n")
        return reader, writer

    def _wire(self, room: Room) -> None:
        for agent in room.agents:
            self.instance.wire(
                room=room.name,
                channel="platform",
                folder=agent,
                is_group=room.is_group,
                session_mode=room.session_mode,
                engage_mode=EngageMode.PATTERN,
                engage_pattern="." if len(room.agents) == 1 else rf"{mention(agent)}\b",
            )
            (self.instance.paths.groups / agent / REPORT_NAME).write_bytes(REPORT)

    def _agent_of(self, key: str) -> str | None:
        """Return the folder of the agent that wrote a delivery, or None if the key names no session."""
        query = "SELECT g.folder FROM agent_groups g JOIN sessions s ON s.agent_group_id = g.id WHERE s.id = ?"
        agent: str | None = self.instance.db.execute(query, (session_of(key),)).get
        return agent

    def _rows(self) -> Iterator[tuple[Path, int, str, str]]:
        """Yield `in/` of its session, the number, the reference and the content of each stored message."""
        query = "SELECT platform_message_id, correlation_id, content FROM messages_in"
        for path in self.instance.paths.home.glob("sessions/*/in/inbound.db"):
            with contextlib.closing(session_files.open_writable(path)) as db:
                rows = db.execute(f"{query} WHERE platform_message_id IS NOT NULL").fetchall()
            yield from ((path.parent, int(name.removeprefix("p-")), reference, text) for name, reference, text in rows)

    def _references(self) -> Iterator[tuple[str, int]]:
        yield from ((reference, number) for _, number, reference, _ in self._rows())

    def _broken_incoming_files(self) -> Iterator[str]:
        for incoming, number, _, text in self._rows():
            paths = {file["name"]: file.get("path") for file in json.loads(text).get("attachments", [])}
            for name, content in self.platform.written[number].files.items():
                path = incoming / str(paths.get(name))
                if not path.is_file() or path.read_bytes() != content:
                    yield f"m-{number} {name}"

    def _broken_outgoing_files(self) -> Iterator[str]:
        expected = digest(REPORT)
        for message in self.platform.delivered:
            yield from (f"{message.key} {name}" for name, actual in message.files.items() if actual != expected)
