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
from nanoclaw_wire.suggestions import did_you_mean
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core.components import Components
from nanoclaw_core.contributions import Contributions, contexts, gateway_of, load_contributions, migrate
from nanoclaw_core.control import control_server
from nanoclaw_core.descriptors.administration import Sweep, Verb
from nanoclaw_core.descriptors.channels import ChannelAdapter
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.names import CORE
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.services import Gateway, RunningService
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.errors import PLUGIN_ERRORS, NanoclawError
from nanoclaw_core.instance import InstancePaths, open_database
from nanoclaw_core.lock import InstanceLock
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.operations import HostOperations
from nanoclaw_core.plugins import Contribution, Plugins, PluginState
from nanoclaw_core.settings import Settings
from nanoclaw_core.store import deliveries, engage_patterns
from nanoclaw_core.tasks import run_forever
from nanoclaw_core.timing import Timing
from nanoclaw_core.verbs import core_verbs

log = logging.getLogger(__name__)
ContextOf = Callable[[str], PluginContext]


class Host:
    """One running nanoclaw on one instance directory.

    Args:
        settings: The result of `load_settings`, or settings of the embedding application.
        plugins: Plugin objects of the application by name, beside the installed plugins.
        environment: Replaces the environment of the process; None reads `os.environ`.
        use_installed_plugins: False loads `plugins` alone.
        before_start: Awaited after the lock is taken and before anything is opened. Its exception ends the start.
        timing: The times of the host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        plugins: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        use_installed_plugins: bool = True,
        before_start: Callable[[], Awaitable[None]] | None = None,
        timing: Timing = Timing(),
    ) -> None:
        self.settings = settings
        self.started_in_s = 0.0
        self.plugins = Plugins()
        self._own_plugins = dict(plugins or {})
        self._environment = dict(os.environ if environment is None else environment)
        self._use_installed_plugins, self._before_start, self._timing = use_installed_plugins, before_start, timing
        self._paths = InstancePaths(home=settings.home)
        self._lock = InstanceLock(self._paths.run)
        self._tasks = TaskSet()
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
        self._paths.make()
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
        waiting = deliveries.waiting_by_channel(components.db) if components else []
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
                {"session": session_id, "runtime": sandbox.runtime, "provider": sandbox.provider}
                for session_id, sandbox in sorted(running.items())
            ],
            "waiting_for_a_slot": [
                {"session": session_id, "person": wait.claim.person, "reason": wait.reason.value}
                for session_id, wait in (components.supervisor.slots.waiting if components else {}).items()
            ],
            "waiting_to_be_sent": {messages.channel: messages.count for messages in waiting},
            "plugins_failed": [report.name for report in self.plugins.reports() if report.state is PluginState.FAILED],
        }

    async def _start(self) -> None:
        self._db = db = open_database(self._paths)
        for name, plugin in self._own_plugins.items():
            self.plugins.add(plugin, name=name)
        _, contributions = load_contributions(
            self.plugins, self.settings, self._environment, with_installed=self._use_installed_plugins
        )
        contributions = migrate(contributions, self.plugins, db)
        names = {report.name for report in self.plugins.reports()}
        for table in sorted(self.settings.plugins.keys() - names):
            remedy = did_you_mean(table, names, "Install the plugin or remove the table.", "[plugins.{}]".format)
            log.warning("settings of no plugin", extra={"table": table, "remedy": remedy})
        for problem in engage_patterns.problems(db):
            about = {"wiring": problem.wiring_id, "pattern": problem.pattern, "reason": problem.reason}
            log.warning("engage pattern does not work", extra=about)
        self.plugins.require(list(self.settings.core.required_plugins))
        plugin_context = contexts(
            contributions, self.settings, self._environment, db, lambda: HostOperations(self.components)
        )
        self._connect(contributions, plugin_context)
        self._components = components = self._build(db, contributions, plugin_context)
        self._control = control_server(self._paths.control_socket, components.dispatch, self._timing.request_idle_s)
        await self._control.open()
        components.queues.start()
        self._run_parts(contributions, components, plugin_context)

    def _connect(self, contributions: Contributions, plugin_context: ContextOf) -> None:
        """Connect each channel, runtime and service. Record and leave out those that cannot be connected."""
        gateway = gateway_of(contributions)
        self._providers = sorted(contributions.providers)
        for name, channel in contributions.channels.items():
            if (adapter := self._made(channel, plugin_context(channel.plugin))) is not None:
                self._adapters[name] = adapter
        for name, runtime in contributions.runtimes.items():
            context = plugin_context(runtime.plugin)
            if (runtime_adapter := self._made(runtime, context, contributions.for_sandboxes())) is not None:
                self._runtimes[name] = runtime_adapter
        for name, service in contributions.services.items():
            running = self._made(service, plugin_context(service.plugin))
            if running is not None and service is gateway and not isinstance(running, Gateway):
                self.plugins.record_failure(service.plugin, TypeError("is_gateway is set, but it opens no endpoints"))
            elif running is not None:
                self._services[name] = running

    def _made(self, contribution: Contribution[Any], context: PluginContext, *more: object) -> Any:
        try:
            return contribution.value.connect(context.settings, context, *more)
        except PLUGIN_ERRORS as error:  # error boundary: a plugin's constructor
            self.plugins.record_failure(contribution.plugin, error)
            return None

    def _build(self, db: apsw.Connection, contributions: Contributions, plugin_context: ContextOf) -> Components:
        gateway = next((service for service in self._services.values() if isinstance(service, Gateway)), None)
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
            timing=self._timing,
        )

    def _verbs(self, contributions: Contributions) -> dict[str, Contribution[Verb]]:
        verbs: dict[str, Contribution[Verb]] = dict(contributions.verbs)
        own = core_verbs(
            status=self.status,
            plugins=lambda: [report.as_json_object() for report in self.plugins.reports()],
            verbs=lambda: [contribution.value for contribution in verbs.values()],
        )
        verbs |= {full_name(verb): Contribution(verb, CORE) for verb in own}
        return verbs

    def _run_parts(self, contributions: Contributions, components: Components, plugin_context: ContextOf) -> None:
        for name, service in self._services.items():
            self._tasks.spawn(run_forever(contributions.services[name].plugin, f"service {name}", service.run))
        for name, adapter in self._adapters.items():
            channel = contributions.channels[name]
            listen = partial(adapter.listen, partial(components.router.route, channel.value))
            self._tasks.spawn(run_forever(channel.plugin, f"channel {name}", listen))
        for contribution in contributions.sweeps.values():
            self._tasks.spawn(self._sweep(contribution, plugin_context(contribution.plugin)))
        self._tasks.spawn(run_forever(CORE, "sweep", components.sweeper.run))
        self._tasks.spawn(self._reap_and_resume(components))

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
        saying = asyncio.get_running_loop().call_later(self._timing.reap_notice_s, slow)
        try:
            async with asyncio.timeout(self._timing.reap_timeout_s):
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
            async with asyncio.timeout(self._timing.plugin_close_s):
                await runtime.close()
        except PLUGIN_ERRORS:  # error boundary: no engine keeps the host from releasing its instance
            log.exception("runtime could not be closed", extra={"runtime": name})

    async def _stop(self) -> None:
        if self._control is not None:
            await self._control.close()
        if self._components is not None:
            await self._components.finish()  # many adapters send through the connection that `listen` holds
        await self._tasks.close(self._timing.plugin_close_s)
        if self._components is not None:
            await self._components.close()
        await asyncio.gather(*(self._close(name, runtime) for name, runtime in self._runtimes.items()))
        if self._db is not None:
            self._db.close()
        self._lock.release()
