"""The count of failed attempts of a delivery."""

import asyncio
from pathlib import Path

import pytest
from external_platform import Mode
from harness import DIRECT, Harness

DEATHS = 4


@pytest.mark.invariant(number=4)
def test_death_of_host_is_no_failed_attempt(short_directory: Path) -> None:
    """Four hosts die over a delivery, then the platform refuses it once; the delivery still gets through."""
    harness = Harness(short_directory, (DIRECT,), core={"delivery_pauses_s": [0.05, 0.1]})
    platform = harness.platform

    async def scenario() -> None:
        async with harness.running():
            platform.set_mode(Mode.HANGS)
            message = platform.write(DIRECT.name)
            for death in range(1, DEATHS + 1):
                async with harness.host() as host:
                    await harness.until(lambda death=death: platform.attempts.total() == death)
                    host.kill()
            platform.set_mode(Mode.REFUSES, attempts=1)
            async with harness.host() as host:
                await harness.until_answered_or_failed(message)
                await harness.stop(host)

    asyncio.run(scenario())
    harness.require_no_faults()
