"""A process that starts sandboxes and is killed meanwhile.

It has only the runtime of a host.
"""

import asyncio
import os
from typing import Any

import cattrs
import nanoclaw_runtime_process.adapter  # noqa: F401  # the fork server imports it once for all children
from attrs import evolve

from nanoclaw_core.testing.runtime_place import Place, connect

WAIT_FOR_SIGNAL = "import signal; signal.pause()"  # unlike a runner, it does not stop without its host


def main(order: dict[str, Any]) -> int:
    """Start a sandbox in each place at once, then exit without stopping them (`exits`) or wait."""
    places = [evolve(cattrs.structure(place, Place), environment=dict(os.environ)) for place in order["places"]]

    async def start() -> None:
        runtime = connect(places[0])
        await asyncio.gather(*(runtime.start(place.spec(WAIT_FOR_SIGNAL)) for place in places))
        if order["exits"]:
            os._exit(0)
        await asyncio.Event().wait()

    asyncio.run(start())
    return 0
