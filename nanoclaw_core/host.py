"""The host: an instance that runs, as an async context manager.

It sets no signal handler, configures no logging and keeps no global state, so another application can embed it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

import apsw
from nanoclaw_wire import PROTOCOL, clock
from nanoclaw_wire.frame_server import FrameServer

from nanoclaw_core.components import Components
from nanoclaw_core.contributions import (
    Contributions,
    apply_settings,
    collect_contributions,
    contexts,
    gateway_of,
    migrate,
    unknown_plugin_tables,
)
from nanoclaw_core.control import control_server
from nanoclaw_core.descriptors.administration import Sweep, Verb
from nanoclaw_core.descriptors.channels import Channel, ChannelAdapter
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.messages import Inbound, Receipt
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.services import Gateway, RunningService
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.errors import PLUGIN_ERRORS, NanoclawError
from nanoclaw_core.instance import InstancePaths, open_database
from nanoclaw_core.lock import InstanceLock
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.operations import HostOperations
from nanoclaw_core.plugins import Contribution, Plugins, State
from nanoclaw_core.settings import Settings
from nanoclaw_core.store import deliveries, engage_patterns
from nanoclaw_core.tasks import run_forever
from nanoclaw_core.verbs import CORE, core_verbs

log = logging.getLogger(__name__)
REAP_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 1.0  # for each plugin at the stop of the host, which has 10 s in all
REAP_NOTICE_S = 1.0  # it takes milliseconds as a rule; after this time an operator wants to know the reason
ContextOf = Callable[[str], PluginContext]


class Host:
    """One running nanoclaw on one instance directory.

    Args:
        settings: The result of `load_settings`, or settings of the embedding application.
        plugins: Plugin objects of the application by name, beside the installed plugins.
        environment: Replaces the environment of the process; None reads `os.environ`.
        use_installed_plugins: False loads `plugins` alone.
        before_start: Awaited after the lock is taken and before anything is opened. Its exception ends the start.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        plugins: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        use_installed_plugins: bool = True,
        before_start: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.settings = settings
        self.started_in_s = 0.0
        self.plugins = Plugins()
        self._own_plugins = dict(plugins or {})
        self._environment = dict(os.environ if environment is None else environment)
        self._use_installed_plugins, self._before_start = use_installed_plugins, before_start
        self._places = InstancePaths(home=settings.home)
        self._lock = InstanceLock(self._places.run)
        self._tasks: list[asyncio.Task[None]] = []
        self._adapters: dict[str, ChannelAdapter] = {}
        self._runtimes: dict[str, RuntimeAdapter] = {}
        self._services: dict[str, RunningService] = {}
        self._providers: list[str] = []
        self._db: apsw.Connection | None = None
        self._components: Components | None = None
        self._control: FrameServer | None = None
        self._started_at = 0.0

    async def __aenter__(self) -> Host:
        """Start the host.

        Raises:
            AlreadyRunning: Another host has the instance.
            NanoclawError: The host cannot start; the message has the reason. Nothing stays running.
        """
        began = time.monotonic()
        self._places.make()
        self._lock.acquire()
        try:
            if self._before_start is not None:
                await self._before_start()
                began = time.monotonic()
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._started_at = time.time()
        self.started_in_s = time.monotonic() - began
        log.info("host ready", extra={"home": str(self.settings.home), "seconds": round(self.started_in_s, 3)})
        self.plugins.notify("nanoclaw_host_started")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop the sandboxes, deliver their last messages, then stop the channels and close the files, within 10 s."""
        self.plugins.notify("nanoclaw_host_stopping")
        await self._stop()

    @property
    def components(self) -> Components:
        """The components of a running host. They change with the core, so plugins and applications do not use them.

        Raises:
            NanoclawError: The host does not run.
        """
        if self._components is None:
            raise NanoclawError("the host is not running; use it within `async with`")
        return self._components

    def status(self) -> dict[str, Any]:
        """Return the state of the host as a JSON object."""
        components = self._components
        running = components.supervisor.running if components else {}
        return {
            "state": "running",
            "home": str(self.settings.home),
            "process_id": os.getpid(),
            "protocol": PROTOCOL,
            "started_in_s": round(self.started_in_s, 3),
            "running_for_s": round(time.time() - self._started_at, 1),
            "channels": sorted(self._adapters),
            "providers": self._providers,
            "runtimes": sorted(self._runtimes),
            "gateway": any(isinstance(service, Gateway) for service in self._services.values()),
            "sandboxes": [
                {"session": session_id, "runtime": one.runtime, "provider": one.provider}
                for session_id, one in sorted(running.items())
            ],
            "waiting_for_a_slot": components.supervisor.slots.waiting if components else [],
            "waiting_to_be_sent": {channel: count for channel, (count, _) in self._waiting().items()},
            "plugins_failed": [one.name for one in self.plugins.reports() if one.state is State.FAILED],
        }

    def _waiting(self) -> dict[str, tuple[int, str]]:
        return deliveries.waiting_by_channel(self._db) if self._db is not None else {}

    async def _start(self) -> None:
        self._db = db = open_database(self._places)
        self._load_plugins()
        contributions = apply_settings(
            collect_contributions(self.plugins), self.plugins, self.settings, self._environment
        )
        contributions = migrate(contributions, self.plugins, db)
        names = [report.name for report in self.plugins.reports()]
        for table, remedy in unknown_plugin_tables(self.settings, names).items():
            log.warning("settings of no plugin", extra={"table": table, "remedy": remedy})
        for problem in engage_patterns.problems(db):
            about = {"wiring": problem.wiring_id, "pattern": problem.pattern, "reason": problem.reason}
            log.warning("engage pattern does not work", extra=about)
        self.plugins.require(list(self.settings.core.required_plugins))
        plugin_context = contexts(
            contributions,
            places=self._places,
            settings=self.settings,
            environment=self._environment,
            database=db,
            running=lambda: HostOperations(self.components),
        )
        self._connect(contributions, plugin_context)
        self._components = components = self._build(db, contributions, plugin_context)
        self._control = control_server(self._places.control_socket, components.dispatch)
        await self._control.open()
        components.queues.start()
        self._run_parts(contributions, components, plugin_context)

    def _load_plugins(self) -> None:
        for name, plugin in self._own_plugins.items():
            self.plugins.add(plugin, name=name)
        if self._use_installed_plugins:
            self.plugins.load_installed(frozenset(self.settings.core.disabled_plugins))

    def _connect(self, contributions: Contributions, plugin_context: ContextOf) -> None:
        """Connect each channel, runtime and service. Record and leave out one that cannot be connected."""
        gateway = gateway_of(contributions)
        self._providers = sorted(contributions.providers)

        def made(contribution: Contribution[Any], *more: object) -> Any:
            return self._made(
                contribution,
                contributions.plugin_settings.get(contribution.plugin),
                plugin_context(contribution.plugin),
                *more,
            )

        for name, channel in contributions.channels.items():
            if (adapter := made(channel)) is not None:
                self._adapters[name] = adapter
        for name, runtime in contributions.runtimes.items():
            if (runtime_adapter := made(runtime, contributions.for_sandboxes())) is not None:
                self._runtimes[name] = runtime_adapter
        for name, service in contributions.services.items():
            running = made(service)
            if running is not None and service is gateway and not isinstance(running, Gateway):
                self.plugins.record_failure(service.plugin, TypeError("is_gateway is set, but it opens no endpoints"))
            elif running is not None:
                self._services[name] = running

    def _made(self, contribution: Contribution[Any], *given: object) -> Any:
        try:
            return contribution.value.connect(*given)
        except PLUGIN_ERRORS as error:  # error boundary: a plugin's constructor
            self.plugins.record_failure(contribution.plugin, error)
            return None

    def _build(self, db: apsw.Connection, contributions: Contributions, plugin_context: ContextOf) -> Components:
        gateway = next((one for one in self._services.values() if isinstance(one, Gateway)), None)
        return Components(
            db=db,
            settings=self.settings,
            environment=self._environment,
            plugins=self.plugins,
            contributions=contributions,
            directories=open_root(self.settings.home),
            adapters=self._adapters,
            runtimes=self._runtimes,
            gateway=gateway,
            plugin_context=plugin_context,
            verbs=self._verbs(contributions),
        )

    def _verbs(self, contributions: Contributions) -> dict[str, Contribution[Verb]]:
        offers: dict[str, Contribution[Verb]] = dict(contributions.verbs)
        own = core_verbs(
            status=self.status,
            plugins=lambda: [report.as_json_object() for report in self.plugins.reports()],
            verbs=lambda: [contribution.value for contribution in offers.values()],
        )
        offers |= {full_name(verb): Contribution(verb, CORE) for verb in own}
        return offers

    def _run_parts(self, contributions: Contributions, components: Components, plugin_context: ContextOf) -> None:
        for name, service in self._services.items():
            self._spawn(run_forever(contributions.services[name].plugin, f"service {name}", service.run))
        for name, adapter in self._adapters.items():
            self._spawn(self._listen(contributions.channels[name], adapter, components))
        for contribution in contributions.sweeps.values():
            self._spawn(self._sweep(contribution, plugin_context(contribution.plugin)))
        self._spawn(run_forever(CORE, "sweep", components.sweeper.run))
        self._spawn(self._reap_and_resume(components))

    async def _listen(
        self, contribution: Contribution[Channel], adapter: ChannelAdapter, components: Components
    ) -> None:
        async def receive(inbound: Inbound) -> Receipt:
            return await components.router.route(contribution.value, inbound)

        await run_forever(contribution.plugin, f"channel {contribution.value.name}", partial(adapter.listen, receive))

    async def _sweep(self, contribution: Contribution[Sweep], context: PluginContext) -> None:
        async def once() -> None:
            while True:
                await asyncio.sleep(contribution.value.every_s)
                await contribution.value.run(context)

        await run_forever(contribution.plugin, f"sweep {contribution.value.name}", once)

    async def _reap_and_resume(self, components: Components) -> None:
        """Stop the sandboxes of an earlier host, in all runtimes side by side, then continue its sessions."""
        await asyncio.gather(*(self._reap(name, runtime) for name, runtime in self._runtimes.items()))
        components.ready.set()
        await components.sweeper.once()
        await components.recovery.diagnose_all(components.mailbox.due.waiting(clock.now_text()))

    async def _reap(self, name: str, runtime: RuntimeAdapter) -> None:
        slow = partial(log.warning, "no sandbox starts before this runtime has answered", extra={"runtime": name})
        saying = asyncio.get_running_loop().call_later(REAP_NOTICE_S, slow)
        try:
            async with asyncio.timeout(REAP_TIMEOUT_S):
                ended = await runtime.reap()
            if ended:
                log.warning("sandboxes of an earlier host ended", extra={"runtime": name, "count": ended})
        except NanoclawError as error:
            log.info("left-over sandboxes not searched", extra={"runtime": name, "reason": str(error)})
        except PLUGIN_ERRORS:  # error boundary: an engine that does not answer stops only its own sandboxes
            log.exception("left-over sandboxes could not be ended", extra={"runtime": name})
        finally:
            saying.cancel()

    async def _close(self, name: str, runtime: RuntimeAdapter) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await runtime.close()
        except PLUGIN_ERRORS:  # error boundary: no engine keeps the host from releasing its instance
            log.exception("runtime could not be closed", extra={"runtime": name})

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _stop(self) -> None:
        if self._control is not None:
            await self._control.close()
        if self._components is not None:
            await self._components.finish()  # many adapters send through the connection that `listen` holds
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)  # a task that does not end stops no other
        if self._components is not None:
            await self._components.close()
        await asyncio.gather(*(self._close(name, runtime) for name, runtime in self._runtimes.items()))
        if self._db is not None:
            self._db.close()
        self._lock.release()
