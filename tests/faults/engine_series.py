"""The series of kills with real containers: host, runners, dockerd and containerd die under running conversations."""

import asyncio
from pathlib import Path

import docker
from attrs import define
from harness import DIRECT, HALL, TEAM, HostHandle
from kill_series import KillSeries
from restartable_engine import PROGRAMS, RestartableEngine

LONGEST_LIFE_S = 1.5  # a container takes half a second to start


@define(kw_only=True)
class EngineSeries(KillSeries):
    """The engine is started again soon after each kill, at times with what ran in it and at times without."""

    engine: RestartableEngine
    image: str
    longest_life_s: float = LONGEST_LIFE_S
    _revival: asyncio.Task[None] | None = None

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.harness.instance.configure("docker", docker_host=self.engine.address, image=self.image)

    async def _strike(self, victim: str, host: HostHandle) -> bool:
        if victim != "host":
            await self._until_engine_is_back()
        if victim not in PROGRAMS:
            return await super()._strike(victim, host)
        await asyncio.to_thread(self.engine.kill, victim)
        self._count_kill(victim)
        await self._live_a_while()
        self._revival = asyncio.create_task(self._revive(self.dice.uniform(0.0, self.longest_life_s)))
        if self.dice.random() < 0.3:  # the next host finds no engine, and in it later what this one left
            return await self._strike("host", host)
        await self._until_engine_is_back()
        return True

    async def _revive(self, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self.engine.keeps_containers = self.dice.random() < 0.5
        await asyncio.to_thread(self.engine.start)

    async def _until_engine_is_back(self) -> None:
        if self._revival is not None:
            await self._revival
            self._revival = None

    async def _settle(self) -> None:
        await self._until_engine_is_back()
        await super()._settle()

    async def _kill_in_sandboxes(self, victim: str, host: HostHandle) -> None:
        if await asyncio.to_thread(self._kill_container):
            self._count_kill(victim)

    def _kill_container(self) -> bool:
        client = docker.APIClient(base_url=self.engine.address, version="auto", timeout=60)
        try:
            running = [container["Id"] for container in client.containers()]
            if running:
                client.kill(self.dice.choice(running), signal="SIGKILL")
            return bool(running)
        except docker.errors.APIError:  # it ended by itself, or containerd has just come back
            return False
        finally:
            client.close()


def make_engine_series(directory: Path, seed: int, engine: RestartableEngine, image: str) -> EngineSeries:
    """Make a series whose hosts use this engine alone."""
    return EngineSeries(
        directory=directory,
        seed=seed,
        victims=("host", "runner", *PROGRAMS),
        core={"runtime": "docker", "start_pauses_s": [0.2]},
        rooms=(DIRECT, HALL, TEAM),
        engine=engine,
        image=image,
    )
