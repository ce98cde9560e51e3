"""The composition root: builds the components of a host, and connects those that cannot hold each other."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Set
from datetime import datetime
from typing import Any

import apsw
from attrs import define, field
from nanoclaw_untrusted.database_outage import DatabaseOutage
from nanoclaw_wire import clock, frames, inbound
from nanoclaw_wire.content import ActionRequest

from nanoclaw_core.actions import Actions
from nanoclaw_core.contributions import Contributions
from nanoclaw_core.delivery.context import DeliveryContext
from nanoclaw_core.delivery.message_builder import MessageBuilder
from nanoclaw_core.delivery.notifier import Notifier
from nanoclaw_core.delivery.outbox_importer import OutboxImporter
from nanoclaw_core.delivery.outbox_poller import OutboxPoller
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.delivery.status_display import StatusDisplay
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.descriptors.administration import Action, Verb
from nanoclaw_core.descriptors.channels import ChannelAdapter
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.descriptors.names import CORE
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.services import Gateway
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import Dispatch
from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.events import HostEvents
from nanoclaw_core.guard import Guard
from nanoclaw_core.ids import SessionId, new_id
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.due import DueIndex
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.mailbox.outbox import UNREADABLE, OutboxReader
from nanoclaw_core.permissions import Permissions
from nanoclaw_core.plugins import Contribution, Plugins
from nanoclaw_core.routing.person_limits import PersonLimits
from nanoclaw_core.routing.router import Router
from nanoclaw_core.sandboxes.launcher import SandboxLauncher
from nanoclaw_core.sandboxes.planner import SandboxPlanner
from nanoclaw_core.sandboxes.quarantine import SessionQuarantine
from nanoclaw_core.sandboxes.quarantine_budget import QuarantineBudget
from nanoclaw_core.sandboxes.recovery import SessionRecovery
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.scope import Scope
from nanoclaw_core.settings import Settings
from nanoclaw_core.store import agents, sessions
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.store.dropped import DroppedMessages
from nanoclaw_core.store.usage import Usage
from nanoclaw_core.sweep import Sweeper
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)
OVER_BUDGET = "The agent wrote more than it may in one day, so I leave out what it writes until midnight UTC."
NCL = "ncl"  # the action by which a sandbox asks for verbs


@define(kw_only=True, eq=False)
class Components(HostEvents):
    """The components of a host, built in the order in which they need each other.

    Args:
        verbs: Verbs of the core and of all plugins, by name.
        plugin_context: Returns the context of a plugin by its name.
    """

    db: apsw.Connection
    settings: Settings
    environment: Mapping[str, str]
    plugins: Plugins
    contributions: Contributions
    directories: SessionDirectories
    adapters: Mapping[str, ChannelAdapter]
    runtimes: Mapping[str, RuntimeAdapter]
    gateway: Gateway | None
    plugin_context: Callable[[str], PluginContext]
    verbs: Mapping[str, Contribution[Verb]]
    timing: Timing
    ready: asyncio.Event = field(factory=asyncio.Event, init=False)
    outage: DatabaseOutage = field(factory=DatabaseOutage, init=False)
    mailbox: Mailbox = field(init=False)
    usage: Usage = field(init=False)
    dropped: DroppedMessages = field(init=False)
    guard: Guard = field(init=False)
    permissions: Permissions = field(init=False)
    typing: TypingIndicator = field(init=False)
    queues: DeliveryQueues = field(init=False)
    status: StatusDisplay = field(init=False)
    notifier: Notifier = field(init=False)
    outbox_poller: OutboxPoller = field(init=False)
    supervisor: Supervisor = field(init=False)
    recovery: SessionRecovery = field(init=False)
    dispatch: Dispatch = field(init=False)
    actions: Actions = field(init=False)
    router: Router = field(init=False)
    sweeper: Sweeper = field(init=False)

    def __attrs_post_init__(self) -> None:
        core = self.settings.core
        self.mailbox = Mailbox(
            db=self.db,
            directories=self.directories,
            inbox=InboxWriter(self.directories, lock_timeout_s=self.timing.inbox_lock_timeout_s),
            outbox=OutboxReader(self.directories, file_bytes=core.outgoing_file_bytes),
            due=DueIndex(self.db),
        )
        self.usage = Usage(db=self.db, budgets=core.budgets)
        self.dropped = DroppedMessages(db=self.db, usage=self.usage)
        self.guard = Guard(db=self.db, plugins=self.plugins)
        self.permissions = Permissions(
            owners=frozenset(core.owners),
            rosters=tuple(self.contributions.rosters.values()),
            plugin_context=self.plugin_context,
        )
        self._build_delivery()
        self._build_sandboxes()
        self._build_requests()
        self.router = Router(
            db=self.db,
            plugins=self.plugins,
            mailbox=self.mailbox,
            permissions=self.permissions,
            notifier=self.notifier,
            typing=self.typing,
            supervisor=self.supervisor,
            recovery=self.recovery,
            dropped=self.dropped,
            people=PersonLimits(inbox=self.mailbox.inbox, budgets=core.budgets, owners=core.owners),
            attachment_bytes=core.attachment_bytes,
        )
        self.sweeper = Sweeper(
            db=self.db,
            supervisor=self.supervisor,
            mailbox=self.mailbox,
            outbox_poller=self.outbox_poller,
            recovery=self.recovery,
            usage=self.usage,
            timing=self.timing,
        )

    def _build_delivery(self) -> None:
        core, inbox = self.settings.core, self.mailbox.inbox
        self.typing = TypingIndicator(self.adapters, self.mailbox.outbox, self.timing)
        self.queues = DeliveryQueues(
            DeliveryContext(
                db=self.db,
                plugins=self.plugins,
                adapters=self.adapters,
                builder=MessageBuilder(db=self.db, mailbox=self.mailbox),
                typing=self.typing,
                events=self,
                pauses_s=core.delivery_pauses_s,
                max_age_s=core.delivery_max_age_s,
                outage=self.outage,
                timing=self.timing,
            )
        )
        self.status = StatusDisplay(self.adapters, inbox, self.queues, self.typing, self.timing)
        self.notifier = Notifier(db=self.db, queues=self.queues, inbox=inbox)
        importer = OutboxImporter(
            db=self.db, guard=self.guard, backlog=self.queues.backlog, mailbox=self.mailbox, usage=self.usage
        )
        self.outbox_poller = OutboxPoller(importer, self.queues, self, self.outage, self.timing)

    def _build_sandboxes(self) -> None:
        self.supervisor = Supervisor(
            db=self.db,
            mailbox=self.mailbox,
            launcher=SandboxLauncher(
                mailbox=self.mailbox,
                planner=self._planner(),
                gateway=self.gateway,
                outbox_poller=self.outbox_poller,
                timing=self.timing,
            ),
            outbox_poller=self.outbox_poller,
            notifier=self.notifier,
            status=self.status,
            core=self.settings.core,
            outage=self.outage,
            events=self,
            ready=self.ready,
            timing=self.timing,
        )
        quarantine = SessionQuarantine(db=self.db, mailbox=self.mailbox, notifier=self.notifier)
        self.recovery = SessionRecovery(
            db=self.db,
            mailbox=self.mailbox,
            quarantine=quarantine,
            budget=QuarantineBudget(db=self.db, directories=self.directories, budgets=self.settings.core.budgets),
            supervisor=self.supervisor,
            timing=self.timing,
        )

    def _build_requests(self) -> None:
        self.dispatch = Dispatch(
            verbs=self.verbs,
            guard=self.guard,
            scope_of=lambda group_id: Scope(agents.config_of(self.db, group_id).cli_scope),
            plugin_context=self.plugin_context,
        )
        ncl = Action(name=NCL, access=Access.ALLOWED, run=self._run_verb)
        self.actions = Actions(
            actions={**self.contributions.actions, NCL: Contribution(ncl, CORE)},
            guard=self.guard,
            inbox=self.mailbox.inbox,
            plugin_context=self.plugin_context,
            supervisor=self.supervisor,
            usage=self.usage,
        )

    def _planner(self) -> SandboxPlanner:
        contributed = self.contributions
        return SandboxPlanner(
            db=self.db,
            settings=self.settings,
            environment=self.environment,
            providers=contributed.providers,
            runtimes=self.runtimes,
            preferences={name: runtime.value.preference for name, runtime in contributed.runtimes.items()},
            plugin_settings=contributed.plugin_settings,
            plugins=self.plugins,
            has_gateway=self.gateway is not None,
            timing=self.timing,
        )

    async def finish(self) -> None:
        """Stop the sandboxes, and send their last messages. The channels and the gateway must still run."""
        self.outbox_poller.stop_waiting()
        await self.recovery.close()
        await self.supervisor.close()
        await self.outbox_poller.close()
        await self.queues.drain_for()

    async def close(self) -> None:
        """Stop the queues and close the files, after `finish`."""
        trash = self.directories.trash
        await asyncio.gather(self.typing.close(), self.status.close(), self.queues.close(), trash.close())
        self.dropped.close()
        self.mailbox.close()

    async def message_refused(self, session_id: SessionId, reason: str) -> None:
        await self.notifier.leave_note(session_id, f"A message you wrote was not sent: {reason}")

    async def budget_exceeded(self, session_id: SessionId, reason: str) -> None:
        log.warning("budget exceeded", extra={"session": session_id, "reason": reason})
        await self.message_refused(session_id, reason)
        try:
            routing = self.mailbox.inbox.routing(session_id)
        except UNREADABLE:
            return  # the next poll reports the fault
        if routing.channel and routing.room:
            address = Address(routing.channel, routing.room, routing.thread)
            self.notifier.send_failure(address, OVER_BUDGET, new_id("full"))

    async def delivery_failed(self, delivery: Delivery, reason: str) -> None:
        if delivery.session_id is not None:
            text = (
                f"Your message {delivery.message_seq} could not be delivered, and it will not be tried again: {reason}"
            )
            await self.notifier.leave_note(delivery.session_id, text)

    def delivery_delayed(self, address: Address, since: datetime, dedup_key: str) -> None:
        zone = self.settings.core.timezone or clock.machine_zone(self.environment)
        text = f"Messages here were delayed since {clock.for_people(since, zone)}. Waiting messages have now been sent."
        self.notifier.send_failure(address, text, new_id("late"), dedup_key=dedup_key)

    async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None:
        session = sessions.get(self.db, session_id)
        if session is not None:
            caller = Caller(session_id=session_id, agent_group_id=session.agent_group_id)
            await self.actions.execute(request, caller)

    async def _run_verb(self, arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        """Run a verb for a sandbox. Return its answer as a frame, as on the control socket."""
        try:
            request = frames.read_request({"id": NCL, **arguments})
        except ValueError as error:  # a sandbox wrote it, so it is no fault of the host
            raise InvalidArguments(str(error)) from None
        answer = await self.dispatch.answer(request, caller)
        return json.loads(answer.as_line())

    def runner_idle(self, session_id: SessionId, finished: Set[str]) -> None:
        try:
            waiting = inbound.waiting_ids(self.mailbox.inbox.read(session_id), clock.now_text())
        except UNREADABLE:
            return  # the next poll reports the fault
        if waiting <= finished:  # else a message came in the same moment
            self.supervisor.note_idle(session_id)
            self.status.clear(session_id)

    def session_unreadable(self, session_id: SessionId, reason: str) -> None:
        self.recovery.report_unreadable(session_id, reason)

    async def diagnose(self, session_id: SessionId, force_reason: str) -> bool:
        return await self.recovery.diagnose(session_id, force_reason)
