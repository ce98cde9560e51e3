"""A host without a channel's plugin keeps the deliveries that are queued for the channel (I4)."""

import asyncio
from pathlib import Path

import pytest
from external_platform import Mode
from harness import DIRECT, HALL, Harness


@pytest.mark.invariant(number=4)
def test_start_without_channel_keeps_its_deliveries(short_directory: Path) -> None:
    """Answers are queued, and one host runs without the channel.

    The next host with it delivers them all.
    """
    harness = Harness(short_directory, (DIRECT, HALL), core={"delivery_pauses_s": [0.05, 0.1]})
    platform = harness.platform

    async def scenario() -> None:
        async with harness.running():
            platform.set_mode(Mode.HANGS)
            async with harness.host() as host:
                written = [
                    platform.write(room.name, thread=room.threads[0]) for room in harness.rooms for _ in range(2)
                ]
                await harness.until(lambda: len(platform.attempts) == len(harness.rooms))
                host.kill()
            platform.set_mode(Mode.WORKS)
            async with harness.host(has_channel=False) as host:
                host.terminate()  # an orderly stop leaves time for queued deliveries, longer than all pauses
            before = harness.instance.db.execute("SELECT id, status, attempts FROM deliveries").fetchall()
            async with harness.host() as host:
                await harness.until_answered(platform.write(DIRECT.name), platform.write(HALL.name, thread="x"))
                assert platform.is_answered(*written), f"lost: {before}\n{harness.count().table()}"
                await harness.stop(host)

    asyncio.run(scenario())
    harness.require_no_faults()
