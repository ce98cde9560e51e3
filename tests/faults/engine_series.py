"""A series of kills with real containers: of the host, runners, dockerd and containerd during conversations."""

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
    """A kill series that restarts the engine soon after each kill, at random with or without its containers."""

    engine: RestartableEngine
    image: str
    longest_life_s: float = LONGEST_LIFE_S
    _restarting: asyncio.Task[None] | None = None

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.harness.instance.configure("docker", docker_host=self.engine.address, image=self.image)

    async def _kill_target(self, target: str, host: HostHandle) -> bool:
        if target != "host":
            await self._wait_for_engine()
        if target not in PROGRAMS:
            return await super()._kill_target(target, host)
        await asyncio.to_thread(self.engine.kill, target)
        self._count_kill(target)
        await self._write_until_next_kill()
        self._restarting = asyncio.create_task(self._restart_engine(self.dice.uniform(0.0, self.longest_life_s)))
        if self.dice.random() < 0.3:  # the next host finds no engine at first, and later this host's containers
            return await self._kill_target("host", host)
        await self._wait_for_engine()
        return True

    async def _restart_engine(self, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self.engine.keeps_containers = self.dice.random() < 0.5
        await asyncio.to_thread(self.engine.start)

    async def _wait_for_engine(self) -> None:
        if self._restarting is not None:
            await self._restarting
            self._restarting = None

    async def _settle(self) -> None:
        await self._wait_for_engine()
        await super()._settle()

    async def _kill_in_sandboxes(self, target: str, host: HostHandle) -> None:
        if await asyncio.to_thread(self._kill_container):
            self._count_kill(target)

    def _kill_container(self) -> bool:
        client = docker.APIClient(base_url=self.engine.address, version="auto", timeout=60)
        try:
            running = [container["Id"] for container in client.containers()]
            if running:
                client.kill(self.dice.choice(running), signal="SIGKILL")
            return bool(running)
        except docker.errors.APIError:  # the container has exited, or containerd has just started
            return False
        finally:
            client.close()


def make_engine_series(directory: Path, seed: int, engine: RestartableEngine, image: str) -> EngineSeries:
    """Make a series with hosts that use only this engine."""
    return EngineSeries(
        directory=directory,
        seed=seed,
        targets=("host", "runner", *PROGRAMS),
        core={"runtime": "docker", "start_pauses_s": [0.2]},
        rooms=(DIRECT, HALL, TEAM),
        engine=engine,
        image=image,
    )
