"""The count of failed attempts of a delivery."""

import asyncio
from pathlib import Path

import pytest
from external_platform import Mode
from harness import DIRECT, Harness
from nanoclaw_wire import clock
from simulated_time import simulated_time

from nanoclaw_core import Address, Outbound
from nanoclaw_core.ids import DeliveryId
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.recorder import RecorderChannel

DEATHS = 4
A_DAY_S = 86_400.0


@pytest.mark.invariant(number=4)
def test_death_of_host_is_no_failed_attempt(short_directory: Path) -> None:
    """Four hosts die over a delivery, then the platform refuses it once.

    The delivery still gets through.
    """
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


class DeadPlatform(RecorderChannel):
    """A channel whose platform never works."""

    async def deliver(self, address: Address, message: Outbound) -> str:
        raise ConnectionError("down")


def test_long_queue_of_a_dead_room_ends_within_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message would need all pauses after the one before it, so the last one would wait for days."""
    instance = make_instance(tmp_path / "home", delivery_pauses_s=[600.0], delivery_max_age_s=A_DAY_S)
    instance.wire()
    now = clock.now_text()
    waiting = [
        Delivery(
            id=DeliveryId(f"dlv-{number}"), position=number, channel="recorder", room="room", thread=None, kind="chat",
            content='{"text": "hi"}', created_at=now, updated_at=now,
        )
        for number in range(1, 31)
    ]  # fmt: skip
    deliveries.add(instance.db, waiting)

    async def scenario() -> None:
        async with running_host(instance, channel=DeadPlatform()):
            await asyncio.sleep(1.02 * A_DAY_S)

    with simulated_time(monkeypatch) as loop:
        loop.run_until_complete(scenario())
    states = instance.db.execute("SELECT status, count(*) FROM deliveries GROUP BY status").fetchall()
    instance.db.close()
    assert states == [("failed", len(waiting))]
