"""A series of kills during conversations with tools, files, edits and threads, on an unreliable platform."""

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
TASKS = {"": 9, "do:work": 6, "do:stream": 2, "do:report": 2, "do:edit": 2}
EVENTS = ("offer", "accept", "attempt", "deliver", "taken")
LONGEST_LIFE_S = 0.6
KILLED_WHILE_STARTING = 0.2  # the share of hosts that may be killed before they connect
MAX_OUTSTANDING = 24
MAX_IN_OUTAGE = 200
WRITTEN_IN_OUTAGE = 0.1  # people write less in an outage
MESSAGES_PER_PROMPT = 2  # few, so that most messages reach the provider while a turn runs
ATTACHMENT_SHARE = 0.1
SETTLES_WITHIN_S = 300.0
QUIET_S = 0.3


@frozen(kw_only=True)
class OutagePlan:
    """The platform's outages during a series.

    Each pair is the shortest and the longest time in seconds.

    Args:
        works_s: The time between two outages.
        outage_s: The duration of an outage.
        modes: The kinds of outage, each once in random order before one repeats.
        missing_channel: The share of hosts that start without the channel's plugin.
    """

    works_s: tuple[float, float]
    outage_s: tuple[float, float]
    modes: Sequence[Mode] = tuple(mode for mode in Mode if mode is not Mode.WORKS)
    missing_channel: float = 0.05


@define
class KillSeries:
    """One instance, its platform and a series of kills.

    Args:
        seed: The seed of all random choices. The machine's timing still differs from run to run.
        targets: The processes to kill: `host`, `runner`, `runners` (all at once), `platform`.
        core: Settings of the core, in addition to those of every series.
        outage_plan: None for a platform that always works.
        has_tools: False for agents that use no tools. They answer in the order of the messages unless a runner dies.
        longest_life_s: The longest time between two kills.
        killed: The number of kills of each target.
        met: For each stage, the number of kills while a message was in it.
    """

    directory: Path
    seed: int
    targets: Sequence[str]
    core: Mapping[str, object] = field(factory=dict)
    rooms: Sequence[Room] = ROOMS
    outage_plan: OutagePlan | None = None
    has_tools: bool = True
    messages_per_prompt: int = MESSAGES_PER_PROMPT
    longest_life_s: float = LONGEST_LIFE_S
    settles_within_s: float = SETTLES_WITHIN_S
    dice: random.Random = field(init=False)
    harness: Harness = field(init=False)
    killed: Counter[str] = field(factory=Counter)
    met: Counter[Stage] = field(factory=Counter)
    outages: Counter[Mode] = field(factory=Counter)
    _outage_task: asyncio.Task[None] | None = None

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        core = {"delivery_pauses_s": [0.05, 0.2], "runtime": "forked", **self.core}
        self.harness = Harness(self.directory, self.rooms, core=core)
        self.harness.limit_prompts(self.messages_per_prompt)

    @property
    def kills(self) -> int:
        """The total number of kills."""
        return self.killed.total()

    @property
    def keeps_order(self) -> bool:
        """True if answers must keep the order of the messages."""
        return not self.has_tools and set(self.targets) <= {"host", "platform"}

    async def run(self, kills: int) -> None:
        """Kill the given number of times, then let a host finish all work, and stop it in order."""
        async with self.harness.running(), self._running_outages():
            await self._begin()
            while self.kills < kills:
                has_channel = self.outage_plan is None or self.dice.random() >= self.outage_plan.missing_channel
                connections = self.harness.platform.connections
                async with self.harness.host(has_channel=has_channel) as host:
                    if has_channel and self.dice.random() >= KILLED_WHILE_STARTING:
                        await self.harness.until(lambda before=connections: self.harness.platform.connections > before)
                    await self._kill_during_life(host, kills)
            self._stop_outages()
            await self._settle()

    async def run_flood(self, messages: Sequence[tuple[str, str]]) -> None:
        """Write all messages (room, text) at once, kill the host after it accepts the last, and let another finish."""
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
        """Make every session answer once, so that each has a message 2 from a person and a message 3 of its own."""
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

    async def _kill_during_life(self, host: HostHandle, kills: int) -> None:
        """Kill targets during the life of one host, until the host itself is killed."""
        while self.kills < kills:
            await self._write_until_next_kill()
            if not await self._kill_target(self.dice.choice(self.targets), host):
                return
        host.kill()

    async def _write_until_next_kill(self) -> None:
        """Let people write until the next kill is due: after a few events, or at a random time."""
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
        recent = list(platform.written.values())[-2 * limit :]  # a lost message must not stop the series
        if sum(not platform.is_answered(message) for message in recent) >= limit:
            return None
        room = self.dice.choice(self.rooms)
        addressed = self.dice.choice([room.agents, *([agent] for agent in room.agents)])
        has_file = self.dice.random() < ATTACHMENT_SHARE
        return platform.write(
            room.name,
            self.dice.choices([*TASKS], [*TASKS.values()])[0] if self.has_tools else "",
            thread=self.dice.choice(room.threads),
            agents=addressed,
            files={"photo.bin": self.dice.randbytes(self.dice.randint(1_000, 60_000))} if has_file else {},
        )

    async def _kill_target(self, target: str, host: HostHandle) -> bool:
        """Kill one target. Return False if it was the host."""
        match target:
            case "host":
                host.kill()
                self._count_kill(target)
                return False
            case "platform":
                await self.harness.platform.kill()
                self._count_kill(target)
                await self.harness.platform.start()
            case _:
                await self._kill_in_sandboxes(target, host)
        return True

    async def _kill_in_sandboxes(self, target: str, host: HostHandle) -> None:
        pids = await self.harness.runner_pids()
        for pid in pids if target == "runners" else self.dice.sample(pids, min(1, len(pids))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if pids:
            self._count_kill(target)

    def _count_kill(self, target: str) -> None:
        """Record a kill and the stages of the messages at that moment."""
        self.killed[target] += 1
        self.met += stages_met(self.harness.instance, self.harness.platform)

    @contextlib.asynccontextmanager
    async def _running_outages(self) -> AsyncIterator[None]:
        if self.outage_plan is not None:
            self._outage_task = asyncio.create_task(self._run_outages(self.outage_plan))
        try:
            yield
        finally:
            if self._outage_task is not None:
                self._outage_task.cancel()

    async def _run_outages(self, outage_plan: OutagePlan) -> None:
        dice, modes = random.Random(self.seed + 1), []
        while True:
            await asyncio.sleep(dice.uniform(*outage_plan.works_s))
            modes = modes or dice.sample(outage_plan.modes, len(outage_plan.modes))
            mode = modes.pop()
            self.outages[mode] += 1
            self.harness.platform.set_mode(mode)
            await asyncio.sleep(dice.uniform(*outage_plan.outage_s))
            self.harness.platform.set_mode(Mode.WORKS)

    def _stop_outages(self) -> None:
        if self._outage_task is not None:
            self._outage_task.cancel()
        self.harness.platform.set_mode(Mode.WORKS)

    async def _settle(self) -> None:
        async with self.harness.host() as host:
            await self._until_idle()
            host.terminate()

    async def _until_idle(self) -> None:
        """Wait until nothing is on its way.

        The check costs more than an answer, so check only in a quiet moment.
        """
        try:
            async with asyncio.timeout(self.settles_within_s):
                while True:
                    await self._wait_for_quiet()
                    if self.harness.is_idle():
                        return
        except TimeoutError:
            stages = ", ".join(stage.value for stage in stages_met(self.harness.instance, self.harness.platform))
            raise AssertionError(f"still on their way: {stages}\n{self.report()}") from None

    async def _wait_for_quiet(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self.harness.platform.changed.clear()
                async with asyncio.timeout(QUIET_S):
                    await self.harness.platform.changed.wait()

    def count(self) -> Tally:
        """Return the figures up to now."""
        return self.harness.count(keeps_token_order=self.keeps_order)

    def report(self) -> str:
        """Format the figures, the keys of each fault, the kills and the outages."""
        targets = ", ".join(f"{target} {count}" for target, count in self.killed.items())
        outages = ", ".join(f"{mode.value} {count}" for mode, count in self.outages.items())
        lines = [
            f"seed {self.seed}: {self.kills} kills ({targets}), {self.harness.hosts} hosts",
            f"outages: {outages or 'none'}",
            self.count().table(),
            *(f"  {self.met[stage]:5} kills while a message was {stage.value}" for stage in Stage),
        ]
        return "\n".join(lines)

    def check(self) -> None:
        """Require that each message was accepted and answered once in its place, or its people told (I3, I4)."""
        figures = self.count()
        faults = {kind: concerned for kind, concerned in figures.faults.items() if concerned}
        assert not faults, f"{', '.join(faults)}\n{self.report()}\n{self.harness.stderr_tail()}"
        assert figures.accepted == figures.written, self.report()
        self.harness.check_database()
        self.harness.instance.db.close()
