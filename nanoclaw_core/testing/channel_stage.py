"""A channel between a fake platform and a fake core, for the channel contract."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import apsw
from attrs import field, frozen

from nanoclaw_core.descriptors.administration import Migration
from nanoclaw_core.descriptors.channels import Channel, ChannelAdapter
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.messages import Inbound, Outcome, Receipt
from nanoclaw_core.settings import Settings
from nanoclaw_core.store.migrations import migrate_core, migrate_plugin
from nanoclaw_core.store.schema import core_migrations
from nanoclaw_core.tasks import run_forever
from nanoclaw_core.testing.recorder import WAIT_S

AGAIN_S = 0.02  # a host waits for a second before it listens again, which a test need not


@frozen(kw_only=True)
class Shown:
    """One message of the assistant as people see it on the platform. `files` are the shown names."""

    text: str = ""
    files: Sequence[str] = field(default=(), converter=tuple)


class Platform(ABC):
    """The platform's side of a test: a fake server, or the socket that a real platform would use."""

    async def open(self, home: Path) -> None:  # noqa: B027  # a fake server needs neither this nor `close`
        """Prepare for the test. The channel is listening, and `home` is the instance directory."""

    @abstractmethod
    async def say(self, text: str, *, thread: str | None = None) -> None:
        """Send a message of a person in the room of the contract."""

    @abstractmethod
    async def shown(self, count: int) -> Sequence[Shown]:
        """Wait until `count` messages of the assistant are visible, and return all of them, oldest first."""

    async def close(self) -> None:  # noqa: B027
        """Release all resources."""


class Stage:
    """One channel, connected as a host connects it.

    Args:
        home: The instance directory.
        plugin: The name of the plugin's module, or the plugin object.
        table: The plugin's table in nanoclaw.toml.
        environment: The host's environment; None for an empty one.

    Attributes:
        received: The messages that the channel passed on.
        troubles: The errors that the core raises for the next messages, one each.
        failures: The errors that `listen` raised.
    """

    def __init__(
        self, home: Path, plugin: object, table: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self.home, self.environment = home, dict(environment or {})
        self.plugin = _loaded(plugin)
        self.channel: Channel
        (self.channel,) = self.plugin.nanoclaw_channels()
        self.received: list[Inbound] = []
        self.troubles: list[Exception] = []
        self.failures: list[BaseException] = []
        self.outcome = Outcome.ROUTED
        self._arrival = asyncio.Event()
        for directory in ("data", "run"):
            (home / directory).mkdir(parents=True, exist_ok=True)
        self.database = apsw.Connection(str(home / "data" / "nanoclaw.db"))
        migrate_core(self.database, core_migrations())
        steps: list[Migration] = list(getattr(self.plugin, "nanoclaw_migrations", tuple)())
        migrate_plugin(self.database, self.channel.name, steps)
        settings = Settings(home=home, plugins={self.channel.name: table})
        self._settings = settings.for_plugin(self.channel.name, self.channel.settings, self.environment)
        self.adapter = self.connect()

    def connect(self) -> ChannelAdapter:
        """Create an adapter, as each start of a host does."""
        name = self.channel.name
        context = PluginContext(
            plugin=name,
            instance_id="0" * 12,
            home=self.home,
            data_dir=self.home / "data" / name,
            run_dir=self.home / "run",
            environment=self.environment,
            database=self.database,
            settings=self._settings,
        )
        return self.channel.connect(self._settings, context)

    async def receive(self, inbound: Inbound) -> Receipt:
        """Receive a message instead of the core."""
        if self.troubles:
            raise self.troubles.pop(0)
        self.received.append(inbound)
        self._arrival.set()
        return Receipt(outcome=self.outcome, correlation_id="c-1", reason="test")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen until the block ends. Like a host, call `listen` again after a failure."""
        listen = partial(self.adapter.listen, self.receive)
        pause: Callable[[float], Any] = lambda _seconds: asyncio.sleep(AGAIN_S)  # noqa: E731
        task = asyncio.create_task(run_forever(self.channel.name, "listen", listen, failed=self._failed, sleep=pause))
        await asyncio.sleep(0)  # `listen` has run to its first wait
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                async with asyncio.timeout(WAIT_S):
                    await task

    async def arrived(self, count: int) -> list[Inbound]:
        """Wait until the channel has passed on `count` messages, and return them.

        Raises:
            AssertionError: They did not arrive. The message names the errors of `listen`.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                while len(self.received) < count:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            texts = [inbound.text for inbound in self.received]
            raise AssertionError(f"expected {count} messages, got {texts}; failures: {self.failures}") from None
        return self.received

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)


def _loaded(plugin: object) -> Any:
    return import_module(plugin) if isinstance(plugin, str) else plugin
