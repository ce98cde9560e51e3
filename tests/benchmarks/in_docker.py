"""The Docker runtime: a cold container, and ending one. Needs an engine; starts one of its own where it may."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from engine import docker_engine
from engine.python_image import make_image

from . import goals
from .figures import Figure
from .message_way import cold, with_mock

IMAGE = "nanoclaw-bench:python"
DISTRIBUTIONS = ("nanoclaw-wire", "nanoclaw-client", "nanoclaw-runner", "nanoclaw-provider-mock[runner]")


def containers(home: Path, rounds: int) -> Iterator[Figure]:
    """A first message to a conversation without a container, and the end of one; nothing where there is no engine."""
    try:
        with docker_engine.engine(os.environ) as address:
            settings: dict[str, object] = {
                "docker_host": address,
                "image": make_image(address, IMAGE, DISTRIBUTIONS),
            }
            yield Figure(goal=goals.COLD_DOCKER, value=cold(home / "cold", "docker", rounds, docker=settings))
            yield Figure(goal=goals.STOP_DOCKER, value=asyncio.run(_stopping(home / "stop", settings)))
    except docker_engine.NoEngine as error:
        print(f"nothing of Docker is measured: {error}", file=sys.stderr)


async def _stopping(home: Path, settings: dict[str, object]) -> float:
    async with with_mock(home, runtime="docker", docker=settings) as channel:
        await channel.say("hello")
        await channel.reached(1)
        began = time.perf_counter()
    return (time.perf_counter() - began) * 1_000
