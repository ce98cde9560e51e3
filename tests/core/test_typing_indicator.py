"""The typing indicator: its times and their effects, on a simulated clock."""

import asyncio
import sys
import time

from nanoclaw_core import Address, SessionId
from nanoclaw_core.delivery.typing_indicator import ALIVE_S, GRACE_S, PAUSE_S, REFRESH_S, TypingIndicator
from nanoclaw_core.testing.hosting import until

ROOM = Address("chat", "r", None)
SESSION = SessionId("ses-1")


class SimulatedChannel:
    """A channel that records when it showed typing, and a clock that only moves while the indicator sleeps."""

    def __init__(self, *, life_until_s: float = 0.0, delivered_at_s: float | None = None) -> None:
        self.now_s = 0.0
        self.shown_at_s: list[float] = []
        self._life_until_s, self._delivered_at_s = life_until_s, delivered_at_s
        self.indicator = TypingIndicator(lambda _: self, self._heartbeat_at, sleep=self._sleep, now=lambda: self.now_s)

    async def show_typing(self, _address: Address) -> None:
        self.shown_at_s.append(self.now_s)

    def _heartbeat_at(self, _session_id: SessionId) -> float | None:
        return time.time() if self.now_s < self._life_until_s else time.time() - ALIVE_S - 1

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now_s += seconds
        if self._delivered_at_s is not None and self.now_s >= self._delivered_at_s:
            self.indicator.pause(SESSION)
            self._delivered_at_s = None


def shown(channel: SimulatedChannel) -> list[float]:
    async def scenario() -> None:
        channel.indicator.start(SESSION, ROOM)
        await until(lambda: not channel.indicator.is_shown(SESSION))
        await channel.indicator.close()

    asyncio.run(scenario())
    return channel.shown_at_s


def test_typing_times_have_their_documented_values() -> None:
    assert (REFRESH_S, GRACE_S, ALIVE_S, PAUSE_S) == (4.0, 15.0, 6.0, 10.0)


def test_typing_without_heartbeat_ends_after_the_grace_time() -> None:
    assert shown(SimulatedChannel()) == [0, 4, 8, 12]


def test_typing_continues_while_the_runner_is_alive() -> None:
    assert shown(SimulatedChannel(life_until_s=30)) == [0, 4, 8, 12, 16, 20, 24, 28]


def test_typing_pauses_after_a_message() -> None:
    assert shown(SimulatedChannel(life_until_s=30, delivered_at_s=8)) == [0, 4, 20, 24, 28]


def test_typing_ends_with_the_sandbox() -> None:
    async def scenario() -> list[float]:
        channel = SimulatedChannel(life_until_s=1e12)
        channel.indicator.start(SESSION, ROOM)
        await until(lambda: len(channel.shown_at_s) >= 3)
        channel.indicator.stop(SESSION)
        await asyncio.sleep(0)
        before = list(channel.shown_at_s)
        for _ in range(20):
            await asyncio.sleep(0)
        assert channel.shown_at_s == before
        return before

    assert asyncio.run(scenario())[:3] == [0, 4, 8]


def test_typing_that_exits_ends_nothing_else() -> None:
    """A plugin that calls sys.exit in a hint must not end the host."""

    class Exiting(SimulatedChannel):
        async def show_typing(self, address: Address) -> None:
            await super().show_typing(address)
            sys.exit(3)

    assert len(shown(Exiting())) > 1
