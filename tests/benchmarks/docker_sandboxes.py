"""The Docker runtime: the start and the stop of a container.

Needs an engine; starts its own if it runs as root.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from engine import docker_engine
from engine.python_image import make_image

from . import targets
from .figures import Figure
from .message_path import cold, with_mock

IMAGE = "nanoclaw-bench:python"
DISTRIBUTIONS = ("nanoclaw-wire", "nanoclaw-client", "nanoclaw-runner", "nanoclaw-provider-mock[runner]")


def containers(home: Path, rounds: int) -> Iterator[Figure]:
    """Measure the first message of a session without a container, and a stop.

    Yield nothing without an engine.
    """
    try:
        with docker_engine.engine(os.environ) as address:
            settings: dict[str, object] = {
                "docker_host": address,
                "image": make_image(address, IMAGE, DISTRIBUTIONS),
            }
            yield Figure(metric=targets.COLD_DOCKER, value=cold(home / "cold", "docker", rounds, docker=settings))
            yield Figure(metric=targets.STOP_DOCKER, value=asyncio.run(_stopping(home / "stop", settings)))
    except docker_engine.NoEngine as error:
        print(f"skipping Docker: {error}", file=sys.stderr)


async def _stopping(home: Path, settings: dict[str, object]) -> float:
    async with with_mock(home, runtime="docker", docker=settings) as channel:
        await channel.say("hello")
        await channel.wait_for(1)
        began = time.perf_counter()
    return (time.perf_counter() - began) * 1_000
