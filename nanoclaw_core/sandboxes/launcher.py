"""Starts sandboxes with their doorbell and their gateway endpoint."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from attrs import frozen
from nanoclaw_wire.doorbell import DoorbellServer

from nanoclaw_core.delivery.outbox_poller import OutboxPoller
from nanoclaw_core.descriptors.services import Gateway, GatewayEndpoint
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.sandboxes.planner import SandboxPlanner, write_runner_config
from nanoclaw_core.sandboxes.running import Running
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class SandboxLauncher:
    """Starts sandboxes, and closes their doorbells and endpoints after their end."""

    mailbox: Mailbox
    planner: SandboxPlanner
    gateway: Gateway | None
    outbox_poller: OutboxPoller
    timing: Timing

    async def start(self, session: Session) -> Running:
        """Start a session's sandbox.

        Raises:
            SandboxRefused, Exception: No sandbox runs; the plan, the gateway or the runtime raised it.
        """
        files = self.mailbox.directories.reopen(session.id)
        plan = await self.planner.plan(session, files)
        write_runner_config(files.config, plan.config)
        bell = DoorbellServer(files.bell, on_ring=partial(self.outbox_poller.notify, session.id))
        try:
            await bell.open()
            if plan.upstreams and self.gateway is not None:
                group_id, upstreams = session.agent_group_id, plan.upstreams
                endpoint = GatewayEndpoint(
                    session_id=session.id, agent_group_id=group_id, socket=files.gateway, upstreams=upstreams
                )
                await self.gateway.open_endpoint(endpoint)
            sandbox = await plan.adapter.start(plan.spec)
        except BaseException:
            await self.close_io(session.id, bell)
            raise
        extra = {"runtime": plan.runtime, "provider": plan.provider, "sandbox": plan.spec.name}
        log.info("sandbox started", extra=extra)
        return Running(sandbox=sandbox, bell=bell, runtime=plan.runtime, provider=plan.provider)

    async def close_io(self, session_id: SessionId, bell: DoorbellServer) -> None:
        """Close a session's doorbell and gateway endpoint."""
        await bell.close()
        if self.gateway is None:
            return
        try:
            async with asyncio.timeout(self.timing.endpoint_close_s):
                await self.gateway.close_endpoint(session_id)
        except PLUGIN_ERRORS:  # error boundary: the last messages must be delivered anyway
            log.exception("gateway endpoint could not be closed", extra={"session": session_id})
