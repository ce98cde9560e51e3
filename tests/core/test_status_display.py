"""The status display: a status that hangs or fails affects nothing else."""

import asyncio

from nanoclaw_core import Address
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S, RecorderChannel
from nanoclaw_core.timing import Timing


class HangingStatus(RecorderChannel):
    """A channel whose platform never confirms one status."""

    def __init__(self, hanging: str) -> None:
        super().__init__()
        self.dropped = asyncio.Event()
        self._hanging = hanging

    async def show_status(self, address: Address, text: str) -> None:
        if text == self._hanging:
            try:
                await asyncio.Event().wait()
            finally:
                self.dropped.set()
        await super().show_status(address, text)


def test_hanging_status_is_dropped(instance: Instance) -> None:
    async def scenario() -> list[str]:
        channel = HangingStatus("starting a sandbox")
        async with running_host(instance, channel=channel, timing=Timing(status_timeout_s=0.01)):
            await channel.say("hi")
            async with asyncio.timeout(WAIT_S):
                await channel.dropped.wait()
            return await channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


def test_hanging_last_status_delays_no_message(instance: Instance) -> None:
    """The status is cleared in the room's queue, in front of the next messages."""

    async def scenario() -> list[str]:
        channel = HangingStatus("")
        async with running_host(instance, channel=channel, timing=Timing(status_timeout_s=0.01)):
            await channel.say("one")
            async with asyncio.timeout(WAIT_S):
                await channel.dropped.wait()
            await channel.say("two")
            return await channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: one", "echo: two"]


def test_failing_status_stops_no_message(instance: Instance) -> None:
    class Failing(RecorderChannel):
        async def show_status(self, _address: Address, _text: str) -> None:
            raise ConnectionError("no status today")

    async def scenario() -> list[str]:
        async with running_host(instance, channel=Failing()) as running:
            await running.channel.say("one")
            await running.channel.texts(1)
            await running.channel.say("two")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: one", "echo: two"]
