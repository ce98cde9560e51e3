"""A process that starts sandboxes and is killed meanwhile. It has a runtime as a host has it, and nothing else."""

import asyncio
import os
from importlib import import_module
from typing import Any

import cattrs
from attrs import evolve

from nanoclaw_core.testing.runtime_place import Place, connect

WAIT_FOR_SIGNAL = "import signal; signal.pause()"  # it heeds no leash, so something else must end it

for name in ("adapter", "host"):
    import_module(f"nanoclaw_runtime_process.{name}")


def main(order: dict[str, Any]) -> int:
    """Start a sandbox in each place at once, then exit without a word if the order says so, or wait to be killed."""
    places = [evolve(cattrs.structure(one, Place), environment=dict(os.environ)) for one in order["places"]]

    async def start() -> None:
        runtime = connect(places[0])
        await asyncio.gather(*(runtime.start(place.spec(WAIT_FOR_SIGNAL)) for place in places))
        if order["exits"]:
            os._exit(0)
        await asyncio.Event().wait()

    asyncio.run(start())
    return 0
