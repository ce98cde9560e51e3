"""A series of kills on running conversations, and the proof afterwards that nothing was lost, doubled or overtaken."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, define, evolve, field
from nanoclaw_wire import session_files
from platform_outside import Platform
from stages import Stage, stages_met

from nanoclaw_core.store import agents
from nanoclaw_core.testing.instance import Instance, make_instance

ROOMS = ("one", "two", "three")
TOKEN = re.compile(r"\bm-(\d+)")
REFERENCE = re.compile(r"\bmsg-[0-9a-f]+")
SETTLES_WITHIN_S = 300.0
QUIET_S = 0.3
LONGEST_LIFE_S = 0.35
OUTSTANDING_AT_MOST = 12
EVENTS = ("offer", "accept", "deliver", "taken")


@define
class Series:
    """One instance, its platform, and the kills.

    Args:
        seed: What everything random comes from.
        victims: Whom to kill: `host`, `runner` or both.
        core: Settings of the core, beside those of every series.
        rooms: Where people write; each has an agent of its own.
        longest_life_s: So long at most passes between two kills.
        killed: How often each victim was.
        met: For each stage of a message, how many kills came while one was there.
    """

    home: Path
    seed: int
    victims: tuple[str, ...]
    core: dict[str, object] = field(factory=dict)
    rooms: Sequence[str] = ROOMS
    longest_life_s: float = LONGEST_LIFE_S
    dice: random.Random = field(init=False)
    platform: Platform = field(init=False)
    instance: Instance = field(init=False)
    kills: int = 0
    killed: Counter[str] = field(factory=Counter)
    met: Counter[Stage] = field(factory=Counter)
    hosts: int = 0
    _written: int = 0

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.platform = Platform(self.home / "platform.sock")
        core = {"provider": "mock", "start_pauses_s": [0.01], **self.core}
        self.instance = make_instance(self.home / "home", **core)
        for room in self.rooms:
            self.instance.wire(room=room, channel="platform", folder=f"agent-{room}")
            group = self.instance.group(f"agent-{room}")
            config = agents.config_of(self.instance.db, group.id)
            agents.save_config(self.instance.db, evolve(config, max_messages_per_prompt=1))

    async def run(self, kills: int) -> None:
        """Kill so often, then let a host finish, and stop it in order."""
        async with self._zygote():
            await self.platform.open()
            try:
                while self.kills < kills:
                    async with self._host() as pid:
                        await self._haunt(pid, kills)
                await self._settle()
            finally:
                await self.platform.close()

    async def run_flood(self, messages: Sequence[tuple[str, str]]) -> None:
        """Let people write all this at once, kill the host when it accepted the last of it, and let another finish."""
        async with self._zygote():
            await self.platform.open()
            try:
                async with self._host() as pid:
                    await self._accepted_all(messages)
                    os.kill(pid, signal.SIGKILL)
                    self._count("host")
                await self._settle()
            finally:
                await self.platform.close()

    async def _accepted_all(self, messages: Sequence[tuple[str, str]]) -> None:
        for number, (room, text) in enumerate(messages, 1):
            self._written = number
            self.platform.write(f"p-{number}", room, text)
        async with asyncio.timeout(SETTLES_WITHIN_S):
            while len(self.platform.accepted) < len(messages):
                self.platform.news.clear()
                await self.platform.news.wait()

    async def _haunt(self, pid: int, kills: int) -> None:
        """Kill around one host until it is killed itself."""
        while self.kills < kills:
            await self._live_a_while()
            if not await self._strike(self.dice.choice(self.victims), pid):
                return
        os.kill(pid, signal.SIGKILL)

    async def _live_a_while(self) -> None:
        """Let people write, until the moment of the next kill."""
        moment = asyncio.Event()
        left = self.dice.randint(1, 6)
        wanted = self.dice.choice(EVENTS)

        def on_event(what: str) -> None:
            nonlocal left
            left -= what == wanted
            if not left:
                moment.set()

        self.platform.on_event = on_event
        longest_s = self.dice.uniform(0.0, self.longest_life_s)
        ends_at = asyncio.get_running_loop().time() + longest_s
        while not moment.is_set() and (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
            self._somebody_writes()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self.dice.uniform(0.0, 0.05))):
                    await moment.wait()
        self.platform.on_event = lambda _what: None

    def _somebody_writes(self) -> None:
        if self._written - len(self.platform.shown) < OUTSTANDING_AT_MOST:
            self._written += 1
            self.platform.write(f"p-{self._written}", self.dice.choice(self.rooms), f"m-{self._written}")

    def answered(self) -> set[int]:
        return {int(found) for _, text in self.platform.shown.values() for found in TOKEN.findall(text)}

    async def _strike(self, victim: str, host: int) -> bool:
        """Kill one of the victims; return whether the host still lives."""
        if victim == "host":
            os.kill(host, signal.SIGKILL)
            self._count("host")
            return False
        await self._kill_a_runner()
        return True

    async def _kill_a_runner(self) -> None:
        runners = (await self._ask({"kind": "list"}))["pids"]
        if runners:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(runners), signal.SIGKILL)
                self._count("runner")

    def _count(self, victim: str) -> None:
        """Note a kill, and how far messages were when it came."""
        self.kills += 1
        self.killed[victim] += 1
        self.met += stages_met(self.instance, self.platform)

    async def _settle(self) -> None:
        before = self.platform.connections
        async with self._host() as pid:
            try:
                async with asyncio.timeout(SETTLES_WITHIN_S):
                    while self.platform.connections == before or self._unanswered():
                        await self._silence()
            except TimeoutError:
                raise AssertionError(f"neither answered nor told: {self._unanswered()} {self._words()}") from None
            os.kill(pid, signal.SIGTERM)

    async def _silence(self) -> None:
        """Wait until the hosts say nothing for a moment: looking who is answered takes longer than an answer."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.platform.news.clear()
                async with asyncio.timeout(QUIET_S):
                    await self.platform.news.wait()

    def _unanswered(self) -> set[int]:
        left = set(range(1, self._written + 1)) - self.answered()
        return left - self._told(left) if left else left

    def _told(self, numbers: set[int]) -> set[int]:
        """Return those of which people were told that they are given up."""
        said = {reference for _, text in self.platform.shown.values() for reference in REFERENCE.findall(text)}
        return {number for number, reference in self._references() if number in numbers and reference in said}

    def _references(self) -> Iterator[tuple[int, str]]:
        for path in self.instance.places.home.glob("sessions/*/in/inbound.db"):
            db = session_files.open_writable(path)
            query = "SELECT platform_message_id, correlation_id FROM messages_in WHERE platform_message_id IS NOT NULL"
            rows = db.execute(query).fetchall()
            db.close()
            yield from ((int(platform_id.removeprefix("p-")), reference) for platform_id, reference in rows)

    @contextlib.asynccontextmanager
    async def _zygote(self) -> AsyncIterator[None]:
        program = Path(__file__).with_name("zygote.py")
        with (self.home / "stderr").open("ab") as log:
            zygote = await asyncio.create_subprocess_exec(
                sys.executable,
                str(program),
                str(self.home / "zygote.sock"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        try:
            assert await zygote.stdout.readline() == b"ready\n", (self.home / "stderr").read_text()
            yield
        finally:
            zygote.stdin.close()
            await zygote.wait()

    @contextlib.asynccontextmanager
    async def _host(self) -> AsyncIterator[int]:
        """Start a host; whatever becomes of it meanwhile, it is gone afterwards."""
        self.hosts += 1
        order = {
            "kind": "host",
            "environment": {},
            "home": str(self.instance.settings.home),
            "core": asdict(self.instance.settings.core),
            "plugins": dict(self.instance.settings.plugins),
            "platform": str(self.platform.path),
            "zygote": str(self.home / "zygote.sock"),
            "log": str(self.home / "log"),
        }
        reader, writer = await self._order(order)
        try:
            yield json.loads(await reader.readline())["pid"]
            async with asyncio.timeout(30):
                ended = json.loads(await reader.readline())
            assert ended["code"] in (0, -signal.SIGKILL), f"{ended} {self._words()}"
        finally:
            writer.close()

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await self._order(order)
        answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        return answer

    async def _order(self, order: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.home / "zygote.sock"))
        writer.write(json.dumps(order).encode() + b"\n")
        return reader, writer

    def _words(self) -> str:
        return f"seed {self.seed}\n{(self.home / 'stderr').read_text()[-3000:]}"

    def check(self) -> None:
        """Prove it (I3, I4): all accepted, each answered once or told, no two keys for one answer, order kept."""
        self.check_answers()
        self.check_order()
        self.check_database()
        self.instance.db.close()

    def summary(self) -> str:
        """Say in a few lines what happened."""
        again = len(self.platform.given) - len(self.platform.shown)
        lines = [
            f"{self.kills} kills ({', '.join(f'{count} of {victim}' for victim, count in self.killed.items())}), "
            f"{self.hosts} hosts, {len(self.platform.offered)} messages, {again} given again under the same key",
            *(f"  {self.met[stage]:5} kills while a message was {stage.value}" for stage in Stage),
        ]
        return "\n".join(lines)

    def check_answers(self) -> None:
        assert self.platform.accepted == set(self.platform.offered), "a message was never accepted"
        keys: dict[int, set[str]] = {}
        for key, (room, text) in self.platform.shown.items():
            for token in TOKEN.findall(text):
                keys.setdefault(int(token), set()).add(key)
                assert self.platform.offered[f"p-{token}"][0] == room, f"{token} was answered in {room}"
        doubled = {number: found for number, found in keys.items() if len(found) > 1}
        assert not doubled, f"answered under two keys: {doubled}"
        silent = {number for number in range(1, self._written + 1) if number not in keys}
        assert self._told(silent) == silent, f"neither answered nor told: {silent}"

    def check_order(self) -> None:
        last: dict[str, int] = {}
        for key, (room, text) in self.platform.shown.items():
            number = _session_number(key)
            if number is not None:
                session = key.rpartition("-")[0]
                assert number > last.get(session, 0), f"{key} came after number {last[session]}"
                last[session] = number
            if self.victims == ("host",) and (token := TOKEN.search(text)):  # nobody died over a message
                assert int(token[1]) > last.get(room, 0), f"{token[0]} came after m-{last[room]} in {room}"
                last[room] = int(token[1])

    def check_database(self) -> None:
        rows = self.instance.db.execute("SELECT id, status FROM deliveries").fetchall()
        assert {status for _, status in rows} <= {"sent"}, "something was not sent"
        assert {key for key, _ in rows} == set(self.platform.shown), "our record and the platform's differ"
        assert self.instance.db.execute("PRAGMA integrity_check").get == "ok"
        texts = {key: text for key, _, text in self.platform.given}
        assert all(texts[key] == text for key, _, text in self.platform.given), "one key, two texts"


def _session_number(key: str) -> int | None:
    found = re.fullmatch(r"dlv-ses-[0-9a-f]+-(\d+)", key)
    return int(found[1]) if found else None
