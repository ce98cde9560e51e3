"""The moving parts of a host and how they are connected: router, mailbox, supervisor, pump, lanes, voice."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import apsw
from attrs import frozen
from nanoclaw_wire import clock, frames, inbound
from nanoclaw_wire.content import ActionRequest

from nanoclaw_core.actions import Actions
from nanoclaw_core.contributions import Contributions
from nanoclaw_core.delivery.attempts import DeliveryContext
from nanoclaw_core.delivery.message_builder import MessageBuilder
from nanoclaw_core.delivery.notifier import Notifier
from nanoclaw_core.delivery.outbox_importer import OutboxImporter
from nanoclaw_core.delivery.outbox_poller import UNREADABLE, OutboxHandlers, OutboxPoller
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.descriptors.administration import Action, Verb
from nanoclaw_core.descriptors.channels import ChannelAdapter, ShowsStatus
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.services import Gateway
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import Dispatch
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.guard import Guard
from nanoclaw_core.ids import SessionId, new_id
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.mailbox.quarantine import SessionQuarantine
from nanoclaw_core.permissions import Permissions
from nanoclaw_core.plugins import Contribution, Plugins
from nanoclaw_core.routing.router import Router
from nanoclaw_core.sandboxes.planner import SandboxPlanner
from nanoclaw_core.sandboxes.recovery import SessionRecovery
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.scope import Scope
from nanoclaw_core.settings import Settings
from nanoclaw_core.store import agents, sessions
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.store.outage import DatabaseOutage
from nanoclaw_core.sweep import Sweeper
from nanoclaw_core.verbs import CORE

log = logging.getLogger(__name__)
NCL = "ncl"  # the action by which a sandbox asks for verbs


@frozen(kw_only=True)
class HostContext:
    """What a machine is built from."""

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


class Components:
    """Builds and holds the components of a host. An event between two of them is a method here."""

    def __init__(self, context: HostContext) -> None:
        self.context = context
        self._hints: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()
        self.mailbox = Mailbox.of(context.db, context.directories, file_bytes=context.settings.core.outgoing_file_bytes)
        self.guard = Guard(db=context.db, plugins=context.plugins)
        self.permissions = Permissions(
            owners=frozenset(context.settings.core.owners),
            rosters=tuple(context.contributions.rosters.values()),
            plugin_context=context.plugin_context,
        )
        self.typing = TypingIndicator(context.adapters.get, self.mailbox.outboxes.heartbeat_at)
        self.outage = DatabaseOutage()
        self.queues = self._build_queues()
        self.notifier = Notifier(db=context.db, queues=self.queues, inboxes=self.mailbox.inboxes)
        self.outbox_poller = self._build_poller()
        self.supervisor = self._build_supervisor()
        self.recovery = self._build_recovery()
        self.dispatch = Dispatch(
            offers=context.verbs,
            guard=self.guard,
            scope_of=lambda group_id: Scope(agents.config_of(context.db, group_id).cli_scope),
            plugin_context=context.plugin_context,
        )
        ncl = Action(name=NCL, access=Access.ALLOWED, run=self._ncl)
        self.actions = Actions(
            offers={
                **context.contributions.actions,
                NCL: Contribution(Action(name=NCL, access=Access.ALLOWED, run=self._ncl), CORE),
            },
            guard=self.guard,
            inboxes=self.mailbox.inboxes,
            plugin_context=context.plugin_context,
            ring=self.supervisor.ring,
        )
        self.router = self._build_router()
        self.sweeper = Sweeper(
            db=context.db,
            supervisor=self.supervisor,
            mailbox=self.mailbox,
            outbox_poller=self.outbox_poller,
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
        await self.typing.close()
        for hint in list(self._hints):
            hint.cancel()
        await asyncio.gather(*self._hints, return_exceptions=True)
        await self.queues.close()
        self.mailbox.close()

    def _build_queues(self) -> DeliveryQueues:
        context = self.context
        builder = MessageBuilder(db=context.db, mailbox=self.mailbox)

        def sent(delivery: Delivery) -> None:
            builder.clear(delivery)
            if delivery.session_id is not None:
                self.typing.pause(delivery.session_id)

        delivery = DeliveryContext(
            db=context.db,
            plugins=context.plugins,
            adapter=context.adapters.get,
            build=builder.build,
            failed=self._delivery_failed,
            sent=sent,
            delayed=self._delivery_delayed,
            pauses_s=context.settings.core.delivery_pauses_s,
            max_age_s=context.settings.core.delivery_max_age_s,
            outage=self.outage,
        )
        return DeliveryQueues(delivery)

    def _build_poller(self) -> OutboxPoller:
        importer = OutboxImporter(
            db=self.context.db,
            check_delivery=self.guard.check_delivery,
            refusal=self.queues.refusal,
            mailbox=self.mailbox,
        )
        handlers = OutboxHandlers(
            refused=self._refused,
            requested=self._requested,
            idle=self._idle,
            broken=self._broken,
            outage=self.outage,
        )
        return OutboxPoller(importer, self.queues, handlers)

    def _build_supervisor(self) -> Supervisor:
        context = self.context
        planner = SandboxPlanner(
            db=context.db,
            settings=context.settings,
            environment=context.environment,
            providers=context.contributions.providers,
            runtimes=context.runtimes,
            preferences={
                name: contribution.value.preference for name, contribution in context.contributions.runtimes.items()
            },
            plugin_settings=context.contributions.plugin_settings,
            failures=context.plugins.failures,
            has_gateway=context.gateway is not None,
        )
        return Supervisor(
            db=context.db,
            mailbox=self.mailbox,
            planner=planner,
            gateway=context.gateway,
            outbox_poller=self.outbox_poller,
            notifier=self.notifier,
            core=context.settings.core,
            outage=self.outage,
            status=self._status,
            ended=self._ended,
            damaged=self._damaged,
            ready=self.ready,
        )

    def _build_recovery(self) -> SessionRecovery:
        context = self.context
        quarantine = SessionQuarantine(db=context.db, mailbox=self.mailbox, say=self.notifier.send_failure)
        return SessionRecovery(
            db=context.db,
            mailbox=self.mailbox,
            quarantine=quarantine,
            retire=self.supervisor.retire,
            resume=self._resume,
        )

    def _build_router(self) -> Router:
        context = self.context
        return Router(
            db=context.db,
            plugins=context.plugins,
            mailbox=self.mailbox,
            permissions=self.permissions,
            attachment_bytes=context.settings.core.attachment_bytes,
            wake=self.supervisor.wake,
            say=self.notifier.send_failure,
            show_typing=self.typing.start,
            mend=self.recovery.mend,
        )

    async def _refused(self, session_id: SessionId, reason: str) -> None:
        await self.notifier.note_to_agent(session_id, f"A message you wrote was not sent: {reason}")

    async def _delivery_failed(self, delivery: Delivery, reason: str) -> None:
        if delivery.session_id is not None:
            text = (
                f"Your message {delivery.message_seq} could not be delivered, and it will not be tried again: {reason}"
            )
            await self.notifier.note_to_agent(delivery.session_id, text)

    def _delivery_delayed(self, address: Address, since: datetime, dedup_key: str) -> None:
        zone = self.context.settings.core.timezone or clock.machine_zone(self.context.environment)
        text = f"Messages here were delayed since {clock.for_people(since, zone)}. Waiting messages have now been sent."
        self.notifier.send_failure(address, text, new_id("late"), dedup_key=dedup_key)

    async def _requested(self, session_id: SessionId, request: ActionRequest) -> None:
        session = sessions.get(self.context.db, session_id)
        if session is not None:
            caller = Caller(session_id=session_id, agent_group_id=session.agent_group_id)
            await self.actions.carry_out(request, caller)

    async def _ncl(self, arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        """A sandbox asks for a verb; its frame is answered as one on the control socket is."""
        answer = await self.dispatch.answer(frames.read_request({"id": NCL, **arguments}), caller)
        return json.loads(answer.as_line())

    def _idle(self, session_id: SessionId) -> None:
        try:
            waiting = self.mailbox.waiting(session_id)
        except UNREADABLE:
            return  # the next look says more
        if not waiting:
            self.supervisor.note_idle(session_id)
            self.typing.stop(session_id)
            self._status(session_id, "")

    def _broken(self, session_id: SessionId, reason: str) -> None:
        self.recovery.suspect(session_id, reason)

    async def _damaged(self, session_id: SessionId, beyond_hope: str) -> bool:
        return await self.recovery.look(session_id, beyond_hope)

    def _resume(self, session_id: SessionId) -> None:
        if self.mailbox.mark(session_id) is not None:
            self.supervisor.wake(session_id)

    def _ended(self, session_id: SessionId) -> None:
        self.typing.stop(session_id)
        self._status(session_id, "")

    def _status(self, session_id: SessionId, text: str) -> None:
        """Show people what is waited for; an empty text goes out behind everything that is queued for them."""
        try:
            routing = inbound.routing(self.mailbox.inboxes.read(session_id))
        except UNREADABLE:
            return
        adapter = self.context.adapters.get(routing.channel or "")
        if not routing.channel or not routing.room or not isinstance(adapter, ShowsStatus):
            return
        address = Address(routing.channel, routing.room, routing.thread)
        show = partial(adapter.show_status, address, text)
        if text:
            self._hint(show)
        else:
            self.queues.after(address, show)

    def _hint(self, show: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await show()
            except PLUGIN_ERRORS:  # the call fence: a hint to people, nothing depends on it
                log.debug("status not shown", exc_info=True)

        task = asyncio.create_task(run())
        self._hints.add(task)
        task.add_done_callback(self._hints.discard)
