"""A series of kills on conversations with tools, files, edits and threads, on a platform that fails at times."""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen
from external_platform import Mode
from harness import HALL, PAIR, TEAM, YARD, Harness, HostHandle, Room
from journal import Tally, WrittenMessage
from message_stages import Stage, stages_met

ROOMS = (HALL, YARD, TEAM, PAIR)
DEEDS = {"": 9, "do:work": 6, "do:stream": 2, "do:report": 2, "do:edit": 2}
EVENTS = ("offer", "accept", "attempt", "deliver", "taken")
LONGEST_LIFE_S = 0.6
KILLED_WHILE_STARTING = 0.2  # the share of hosts whose life is counted from their start, not from their connection
MAX_OUTSTANDING = 24
MAX_IN_OUTAGE = 200
WRITTEN_IN_OUTAGE = 0.1  # people go on writing in an outage, but less
MESSAGES_PER_PROMPT = 2  # so that most messages reach the provider while a turn runs
ATTACHMENT_SHARE = 0.1
SETTLES_WITHIN_S = 300.0
QUIET_S = 0.3


@frozen(kw_only=True)
class Weather:
    """How the platform fails while the series runs. Each value is the shortest and the longest time, in seconds.

    Args:
        works_s: How long it works between two outages.
        outage_s: How long an outage lasts.
        missing_channel: The share of hosts that start without the channel's plugin.
    """

    works_s: tuple[float, float]
    outage_s: tuple[float, float]
    modes: Sequence[Mode] = tuple(mode for mode in Mode if mode is not Mode.WORKS)
    missing_channel: float = 0.05


@define
class KillSeries:
    """One instance, its platform, and the kills.

    Args:
        seed: The seed of everything random. The machine's own timing differs from run to run.
        victims: What is killed: `host`, `runner`, `runners` (all of them at once), `platform`.
        core: Settings of the core, beside those of every series.
        weather: None for a platform that always works.
        has_tools: False for agents that use no tools. They answer in the order of the messages unless a runner dies.
        longest_life_s: The longest time between two kills.
        killed: How often each victim was killed.
        met: For each stage of a message, how many kills came while a message was there.
    """

    directory: Path
    seed: int
    victims: Sequence[str]
    core: Mapping[str, object] = field(factory=dict)
    rooms: Sequence[Room] = ROOMS
    weather: Weather | None = None
    has_tools: bool = True
    messages_per_prompt: int = MESSAGES_PER_PROMPT
    longest_life_s: float = LONGEST_LIFE_S
    settles_within_s: float = SETTLES_WITHIN_S
    dice: random.Random = field(init=False)
    harness: Harness = field(init=False)
    killed: Counter[str] = field(factory=Counter)
    met: Counter[Stage] = field(factory=Counter)
    outages: Counter[Mode] = field(factory=Counter)
    _changing: asyncio.Task[None] | None = None

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        core = {"delivery_pauses_s": [0.05, 0.2], "runtime": "forked", **self.core}
        self.harness = Harness(self.directory, self.rooms, core=core)
        self.harness.limit_prompts(self.messages_per_prompt)

    @property
    def kills(self) -> int:
        """How many kills there were."""
        return self.killed.total()

    @property
    def keeps_order(self) -> bool:
        """True if answers must come in the order of the messages."""
        return not self.has_tools and set(self.victims) <= {"host", "platform"}

    async def run(self, kills: int) -> None:
        """Kill that often, then let a host finish everything, and stop it in order."""
        async with self.harness.running(), self._changing_weather():
            await self._begin()
            while self.kills < kills:
                has_channel = self.weather is None or self.dice.random() >= self.weather.missing_channel
                connections = self.harness.platform.connections
                async with self.harness.host(has_channel=has_channel) as host:
                    if has_channel and self.dice.random() >= KILLED_WHILE_STARTING:
                        await self.harness.until(lambda before=connections: self.harness.platform.connections > before)
                    await self._haunt(host, kills)
            self._stop_weather()
            await self._settle()

    async def run_flood(self, messages: Sequence[tuple[str, str]]) -> None:
        """Write all the messages (room, text) at once, kill the host when it accepted the last, let another finish."""
        platform = self.harness.platform
        async with self.harness.running():
            async with self.harness.host() as host:
                for room, text in messages:
                    platform.write(room, text)
                await self.harness.until(lambda: len(platform.accepted) == len(messages), self.settles_within_s)
                host.kill()
                self._count_kill("host")
            await self._settle()

    async def _begin(self) -> None:
        """Make every session answer once: each has then a message 2 of a person, and a message 3 of its own."""
        platform, seen = self.harness.platform, set()
        async with self.harness.host() as host:
            for room in self.rooms:
                for thread in room.threads if room.is_group else room.threads[:1]:
                    session = (room.agents, thread if room.is_group else None)
                    if session not in seen:
                        seen.add(session)
                        await self.harness.until_answered(platform.write(room.name, thread=thread))
            await self._until_idle()
            host.terminate()

    async def _haunt(self, host: HostHandle, kills: int) -> None:
        """Kill around one host until it is killed itself."""
        while self.kills < kills:
            await self._live_a_while()
            if not await self._strike(self.dice.choice(self.victims), host):
                return
        host.kill()

    async def _live_a_while(self) -> None:
        """Let people write until the moment of the next kill: after some events, or at a random time."""
        moment, platform = asyncio.Event(), self.harness.platform
        left, wanted = self.dice.randint(1, 6), self.dice.choice(EVENTS)

        def on_event(event: str) -> None:
            nonlocal left
            left -= event == wanted
            if not left:
                moment.set()

        platform.on_event = on_event
        ends_at = asyncio.get_running_loop().time() + self.dice.uniform(0.0, self.longest_life_s)
        while not moment.is_set() and (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
            self._write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self.dice.uniform(0.0, 0.05))):
                    await moment.wait()
        platform.on_event = lambda _event: None

    def _write(self) -> WrittenMessage | None:
        platform = self.harness.platform
        limit = MAX_OUTSTANDING
        if platform.mode is not Mode.WORKS and self.dice.random() < WRITTEN_IN_OUTAGE:
            limit = MAX_IN_OUTAGE
        recent = list(platform.written.values())[-2 * limit :]  # what was lost must not stop the series
        if sum(not platform.is_answered(message) for message in recent) >= limit:
            return None
        room = self.dice.choice(self.rooms)
        addressed = self.dice.choice([room.agents, *([agent] for agent in room.agents)])
        has_file = self.dice.random() < ATTACHMENT_SHARE
        return platform.write(
            room.name,
            self.dice.choices([*DEEDS], [*DEEDS.values()])[0] if self.has_tools else "",
            thread=self.dice.choice(room.threads),
            agents=addressed,
            files={"photo.bin": self.dice.randbytes(self.dice.randint(1_000, 60_000))} if has_file else {},
        )

    async def _strike(self, victim: str, host: HostHandle) -> bool:
        """Kill one of the victims; return False if it was the host."""
        match victim:
            case "host":
                host.kill()
                self._count_kill(victim)
                return False
            case "platform":
                await self.harness.platform.kill()
                self._count_kill(victim)
                await self.harness.platform.start()
            case _:
                await self._kill_in_sandboxes(victim, host)
        return True

    async def _kill_in_sandboxes(self, victim: str, host: HostHandle) -> None:
        pids = await self.harness.runner_pids()
        for pid in pids if victim == "runners" else self.dice.sample(pids, min(1, len(pids))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if pids:
            self._count_kill(victim)

    def _count_kill(self, victim: str) -> None:
        """Note a kill, and how far messages were when it came."""
        self.killed[victim] += 1
        self.met += stages_met(self.harness.instance, self.harness.platform)

    @contextlib.asynccontextmanager
    async def _changing_weather(self) -> AsyncIterator[None]:
        if self.weather is not None:
            self._changing = asyncio.create_task(self._change_weather(self.weather))
        try:
            yield
        finally:
            if self._changing is not None:
                self._changing.cancel()

    async def _change_weather(self, weather: Weather) -> None:
        dice, modes = random.Random(self.seed + 1), []
        while True:
            await asyncio.sleep(dice.uniform(*weather.works_s))
            modes = modes or dice.sample(weather.modes, len(weather.modes))
            mode = modes.pop()
            self.outages[mode] += 1
            self.harness.platform.set_mode(mode)
            await asyncio.sleep(dice.uniform(*weather.outage_s))
            self.harness.platform.set_mode(Mode.WORKS)

    def _stop_weather(self) -> None:
        if self._changing is not None:
            self._changing.cancel()
        self.harness.platform.set_mode(Mode.WORKS)

    async def _settle(self) -> None:
        async with self.harness.host() as host:
            await self._until_idle()
            host.terminate()

    async def _until_idle(self) -> None:
        """Wait until nothing is on its way. To look costs more than an answer, so look only in a quiet moment."""
        try:
            async with asyncio.timeout(self.settles_within_s):
                while True:
                    await self._quiet()
                    if self.harness.is_idle():
                        return
        except TimeoutError:
            stages = ", ".join(stage.value for stage in stages_met(self.harness.instance, self.harness.platform))
            raise AssertionError(f"still on their way: {stages}\n{self.report()}") from None

    async def _quiet(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self.harness.platform.news.clear()
                async with asyncio.timeout(QUIET_S):
                    await self.harness.platform.news.wait()

    def count(self) -> Tally:
        """Count everything up to now."""
        return self.harness.count(keeps_token_order=self.keeps_order)

    def report(self) -> str:
        """Return the figures, the keys of each fault, and what happened."""
        victims = ", ".join(f"{victim} {count}" for victim, count in self.killed.items())
        outages = ", ".join(f"{mode.value} {count}" for mode, count in self.outages.items())
        lines = [
            f"seed {self.seed}: {self.kills} kills ({victims}), {self.harness.hosts} hosts",
            f"outages: {outages or 'none'}",
            self.count().table(),
            *(f"  {self.met[stage]:5} kills while a message was {stage.value}" for stage in Stage),
        ]
        return "\n".join(lines)

    def check(self) -> None:
        """Require that everything was accepted, answered once in its place, or told (I3, I4)."""
        figures = self.count()
        found = {kind: concerned for kind, concerned in figures.faults.items() if concerned}
        assert not found, f"{', '.join(found)}\n{self.report()}\n{self.harness.stderr_tail()}"
        assert figures.accepted == figures.written, self.report()
        self.harness.check_database()
        self.harness.instance.db.close()
