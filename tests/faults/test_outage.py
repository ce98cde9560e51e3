"""A temporary outage of the platform, as the people in its rooms see it (I4)."""

import asyncio
from pathlib import Path

import pytest
from external_platform import Mode
from harness import DIRECT, HALL, TEAM, Harness

PAUSES_S = [0.05, 0.1]
MANY_ATTEMPTS = 12  # of one delivery, so that the outage lasts much longer than the sum of the pauses

pytestmark = pytest.mark.invariant(number=4)


@pytest.mark.parametrize("mode", [Mode.REFUSES, Mode.HANGS_UP, Mode.LOSES_ANSWERS], ids=lambda mode: mode.name.lower())
def test_long_outage_loses_and_doubles_no_answer(short_directory: Path, mode: Mode) -> None:
    """People write during and after an outage.

    Each message is answered once, in its place.
    """
    harness = Harness(short_directory, (DIRECT, HALL, TEAM), core={"delivery_pauses_s": PAUSES_S})
    platform = harness.platform

    def is_long() -> bool:
        failed = harness.instance.db.execute("SELECT count(*) FROM deliveries WHERE status = 'failed'").get
        return bool(failed) or max(platform.attempts.values(), default=0) >= MANY_ATTEMPTS

    async def scenario() -> None:
        async with harness.running(), harness.host() as host:
            platform.set_mode(mode)
            written = [platform.write(room.name, thread=room.threads[0]) for room in harness.rooms for _ in range(3)]
            await harness.until(is_long)
            platform.set_mode(Mode.WORKS)
            after = [platform.write(room.name, thread=room.threads[0]) for room in harness.rooms]
            await harness.until_answered(*after)
            assert platform.is_answered(*written), f"lost\n{harness.count().table()}"
            await harness.stop(host)

    asyncio.run(scenario())
    harness.require_no_faults()


def test_hanging_platform_gets_each_answer_once(short_directory: Path) -> None:
    """A host is killed while the platform hangs.

    The next one repeats its deliveries under the same keys.
    """
    harness = Harness(short_directory, (DIRECT, HALL), core={"delivery_pauses_s": PAUSES_S})
    platform = harness.platform

    async def scenario() -> None:
        async with harness.running():
            platform.set_mode(Mode.HANGS)
            async with harness.host() as host:
                written = [platform.write(room.name, thread=room.threads[0]) for room in harness.rooms]
                await harness.until(lambda: len(platform.attempts) == len(written))
                host.kill()
            async with harness.host() as host:
                platform.set_mode(Mode.WORKS)
                await harness.until_answered(*written)
                await harness.stop(host)

    asyncio.run(scenario())
    harness.require_no_faults()
