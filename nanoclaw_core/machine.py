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
from nanoclaw_core.authority import Authority
from nanoclaw_core.delivery.attempts import Sending
from nanoclaw_core.delivery.lanes import Lanes
from nanoclaw_core.delivery.outgoing import Outgoing
from nanoclaw_core.delivery.pump import UNREADABLE, Pump, Pumping
from nanoclaw_core.delivery.takeover import Takeover
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.delivery.voice import Voice
from nanoclaw_core.descriptors.administration import Action, Verb
from nanoclaw_core.descriptors.channels import ChannelAdapter, ShowsStatus
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.services import Gateway
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import Dispatch
from nanoclaw_core.errors import PLUGIN_TROUBLE
from nanoclaw_core.guard import Guard
from nanoclaw_core.ids import SessionId, new_id
from nanoclaw_core.mailbox.aside import Aside
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.parts import Parts
from nanoclaw_core.plugins import Offer, Plugins
from nanoclaw_core.routing.router import Router
from nanoclaw_core.sandboxes.mending import Mending
from nanoclaw_core.sandboxes.preparation import Preparation
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
class Materials:
    """What a machine is built from."""

    db: apsw.Connection
    settings: Settings
    environment: Mapping[str, str]
    plugins: Plugins
    parts: Parts
    directories: SessionDirectories
    adapters: Mapping[str, ChannelAdapter]
    runtimes: Mapping[str, RuntimeAdapter]
    gateway: Gateway | None
    context_of: Callable[[str], PluginContext]
    verbs: Mapping[str, Offer[Verb]]


class Machine:
    """Builds and holds the moving parts; what happens between two of them is a method here."""

    def __init__(self, of: Materials) -> None:
        self.of = of
        self._hints: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()
        self.mailbox = Mailbox.of(of.db, of.directories, file_bytes=of.settings.core.outgoing_file_bytes)
        self.guard = Guard(db=of.db, plugins=of.plugins)
        self.authority = Authority(
            owners=frozenset(of.settings.core.owners),
            rosters=tuple(of.parts.rosters.values()),
            context_of=of.context_of,
        )
        self.typing = TypingIndicator(of.adapters.get, self.mailbox.outboxes.heartbeat_at)
        self.outage = DatabaseOutage()
        self.lanes = self._build_lanes()
        self.voice = Voice(db=of.db, lanes=self.lanes, inboxes=self.mailbox.inboxes)
        self.pump = self._build_pump()
        self.supervisor = self._build_supervisor()
        self.mending = self._build_mending()
        self.dispatch = Dispatch(
            offers=of.verbs,
            guard=self.guard,
            scope_of=lambda group_id: Scope(agents.config_of(of.db, group_id).cli_scope),
            context_of=of.context_of,
        )
        self.actions = Actions(
            offers={**of.parts.actions, NCL: Offer(Action(name=NCL, access=Access.OPEN, run=self._ncl), CORE)},
            guard=self.guard,
            inboxes=self.mailbox.inboxes,
            context_of=of.context_of,
            ring=self.supervisor.ring,
        )
        self.router = self._build_router()
        self.sweeper = Sweeper(
            db=of.db,
            supervisor=self.supervisor,
            mailbox=self.mailbox,
            pump=self.pump,
        )

    async def finish(self) -> None:
        """Stop the sandboxes, and send their last messages. The channels and the gateway must still run."""
        self.pump.stop_waiting()
        await self.mending.close()
        await self.supervisor.close()
        await self.pump.close()
        await self.lanes.settle_briefly()

    async def close(self) -> None:
        """Stop the queues and close the files, after `finish`."""
        await self.typing.close()
        for hint in list(self._hints):
            hint.cancel()
        await asyncio.gather(*self._hints, return_exceptions=True)
        await self.lanes.close()
        self.mailbox.close()

    def _build_lanes(self) -> Lanes:
        of = self.of
        outgoing = Outgoing(db=of.db, mailbox=self.mailbox)

        def sent(delivery: Delivery) -> None:
            outgoing.clear(delivery)
            if delivery.session_id is not None:
                self.typing.pause(delivery.session_id)

        sending = Sending(
            db=of.db,
            plugins=of.plugins,
            adapter=of.adapters.get,
            build=outgoing.build,
            failed=self._delivery_failed,
            sent=sent,
            delayed=self._delivery_delayed,
            pauses_s=of.settings.core.delivery_pauses_s,
            max_age_s=of.settings.core.delivery_max_age_s,
            outage=self.outage,
        )
        return Lanes(sending)

    def _build_pump(self) -> Pump:
        takeover = Takeover(
            db=self.of.db,
            check_delivery=self.guard.check_delivery,
            refusal=self.lanes.refusal,
            mailbox=self.mailbox,
        )
        to = Pumping(
            refused=self._refused,
            requested=self._requested,
            idle=self._idle,
            broken=self._broken,
            outage=self.outage,
        )
        return Pump(takeover, self.lanes, to)

    def _build_supervisor(self) -> Supervisor:
        of = self.of
        preparation = Preparation(
            db=of.db,
            settings=of.settings,
            environment=of.environment,
            providers=of.parts.providers,
            runtimes=of.runtimes,
            preferences={name: offer.item.preference for name, offer in of.parts.runtimes.items()},
            plugin_settings=of.parts.plugin_settings,
            failures=of.plugins.failures,
            has_gateway=of.gateway is not None,
        )
        return Supervisor(
            db=of.db,
            mailbox=self.mailbox,
            preparation=preparation,
            gateway=of.gateway,
            pump=self.pump,
            voice=self.voice,
            core=of.settings.core,
            outage=self.outage,
            status=self._status,
            ended=self._ended,
            damaged=self._damaged,
            ready=self.ready,
        )

    def _build_mending(self) -> Mending:
        of = self.of
        aside = Aside(db=of.db, mailbox=self.mailbox, say=self.voice.say)
        return Mending(db=of.db, mailbox=self.mailbox, aside=aside, retire=self.supervisor.retire, resume=self._resume)

    def _build_router(self) -> Router:
        of = self.of
        return Router(
            db=of.db,
            plugins=of.plugins,
            mailbox=self.mailbox,
            authority=self.authority,
            attachment_bytes=of.settings.core.attachment_bytes,
            wake=self.supervisor.wake,
            say=self.voice.say,
            show_typing=self.typing.start,
            mend=self.mending.mend,
        )

    async def _refused(self, session_id: SessionId, reason: str) -> None:
        await self.voice.note(session_id, f"A message you wrote was not sent: {reason}")

    async def _delivery_failed(self, delivery: Delivery, reason: str) -> None:
        if delivery.session_id is not None:
            text = (
                f"Your message {delivery.message_seq} could not be delivered, and it will not be tried again: {reason}"
            )
            await self.voice.note(delivery.session_id, text)

    def _delivery_delayed(self, address: Address, since: datetime, once_as: str) -> None:
        zone = self.of.settings.core.timezone or clock.machine_zone(self.of.environment)
        text = f"Messages here were delayed since {clock.for_people(since, zone)}. Waiting messages have now been sent."
        self.voice.say(address, text, new_id("late"), once_as=once_as)

    async def _requested(self, session_id: SessionId, request: ActionRequest) -> None:
        session = sessions.get(self.of.db, session_id)
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
        self.mending.suspect(session_id, reason)

    async def _damaged(self, session_id: SessionId, beyond_hope: str) -> bool:
        return await self.mending.look(session_id, beyond_hope)

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
        adapter = self.of.adapters.get(routing.channel or "")
        if not routing.channel or not routing.room or not isinstance(adapter, ShowsStatus):
            return
        address = Address(routing.channel, routing.room, routing.thread)
        show = partial(adapter.show_status, address, text)
        if text:
            self._hint(show)
        else:
            self.lanes.after(address, show)

    def _hint(self, show: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await show()
            except PLUGIN_TROUBLE:  # the call fence: a hint to people, nothing depends on it
                log.debug("status not shown", exc_info=True)

        task = asyncio.create_task(run())
        self._hints.add(task)
        task.add_done_callback(self._hints.discard)
