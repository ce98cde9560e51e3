"""Lanes: fair among each other, and over a central database that cannot be written for a while."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from nanoclaw_core import Address, Outbound
from nanoclaw_core.delivery.lanes import Lanes, Sending
from nanoclaw_core.ids import DeliveryId
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.testing.instance import Instance


def delivery(number: int, room: str = "r") -> Delivery:
    return Delivery(
        id=DeliveryId(f"d{number}"), position=number, channel="chat", room=room, thread=None, kind="chat", content="{}"
    )


async def failed(_delivery: Delivery, reason: str) -> None:
    raise AssertionError(reason)


def lanes_to(platform: object, instance: Instance, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> Lanes:
    return Lanes(
        Sending(
            db=instance.db,
            plugins=Plugins(),
            adapter=lambda _channel: platform,  # type: ignore[arg-type,return-value]  # it is only delivered to
            build=lambda one: Outbound(idempotency_key=one.id),
            failed=failed,
            sent=lambda _delivery: None,
            delayed=lambda _address, _since: None,
            pauses_s=(0.0,),
            max_age_s=0.0,
            sleep=sleep,
        )
    )


class Platform:
    """A channel that takes everything, and fills the disk while it takes the first message."""

    def __init__(self, instance: Instance) -> None:
        self.taken: list[str] = []
        self._db = instance.db

    async def deliver(self, _address: Address, message: Outbound) -> str:
        if not self.taken:
            self._db.pragma("query_only", 1)
        self.taken.append(message.idempotency_key)
        return "platform-id"


@pytest.mark.parametrize("is_full_before", [True, False])
def test_invariant_04_a_database_that_takes_nothing_for_a_while_loses_and_repeats_nothing(
    instance: Instance, is_full_before: bool
) -> None:
    platform = Platform(instance)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) % 3 == 0:
            instance.db.pragma("query_only", 0)
        await asyncio.sleep(0)

    async def scenario(messages: Sequence[Delivery]) -> None:
        lanes = lanes_to(platform, instance, sleep)
        deliveries.add(instance.db, messages)
        if is_full_before:
            instance.db.pragma("query_only", 1)
        lanes.put(messages)
        await lanes.drained()

    asyncio.run(scenario([delivery(1), delivery(2)]))
    assert platform.taken == ["d1", "d2"]
    assert len(waits) >= 3
    assert deliveries.open_deliveries(instance.db) == []


class InstantPlatform:
    """A channel that takes everything without ever waiting."""

    def __init__(self) -> None:
        self.rooms: list[str] = []

    async def deliver(self, address: Address, _message: Outbound) -> str:
        self.rooms.append(address.room)
        return "platform-id"


def test_a_long_lane_delays_no_other_also_where_the_platform_never_waits(instance: Instance) -> None:
    platform = InstantPlatform()
    messages = [*(delivery(number, "long") for number in range(200)), delivery(200, "short")]

    async def scenario() -> None:
        lanes = lanes_to(platform, instance)
        deliveries.add(instance.db, messages)
        lanes.put(messages)
        await lanes.drained()

    asyncio.run(scenario())
    assert platform.rooms.index("short") <= 2
    assert len(platform.rooms) == 201
