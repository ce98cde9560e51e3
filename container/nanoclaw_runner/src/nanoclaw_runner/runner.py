"""Puts a runner together, runs it, and takes it apart again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from enum import IntEnum

from nanoclaw_wire.config import RunnerConfig
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM, is_exhausted, is_out_of_memory

from nanoclaw_runner.activity import ActivityTracker
from nanoclaw_runner.continuation import Continuation
from nanoclaw_runner.error_messages import words_without_provider
from nanoclaw_runner.forwarder import Forwarder
from nanoclaw_runner.heartbeat import Heartbeat
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.messenger import Messenger
from nanoclaw_runner.ncl import offer_ncl
from nanoclaw_runner.outage_notice import OutageNotice
from nanoclaw_runner.outbound_builder import OutboundBuilder, failure
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import PendingPrompts, rows_of
from nanoclaw_runner.plugins import NoProvider, RunnerPlugins
from nanoclaw_runner.provider import Provider, ProviderContext, Tool
from nanoclaw_runner.session import Session
from nanoclaw_runner.shortage import Shortage
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_runner.tools import message_tools
from nanoclaw_runner.turn_loop import TurnLoop
from nanoclaw_runner.workspace import Workspace

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """How a runner ends."""

    DONE = 0
    FAILED = 1
    WRONG_CONFIG = 2
    WRONG_PROTOCOL = 3
    NO_PROVIDER = 4
    NO_ROOM = EXIT_NO_ROOM


class Runner:
    """One session's runner. It logs through `logging` and touches no signal: the program around it does.

    Args:
        plugins: What plugins bring.
        environment: The sandbox's; providers get it.
    """

    def __init__(
        self,
        *,
        workspace: Workspace,
        config: RunnerConfig,
        plugins: RunnerPlugins,
        environment: Mapping[str, str],
        timeouts: Timeouts | None = None,
    ) -> None:
        self._workspace, self._config, self._plugins = workspace, config, plugins
        self._environment, self._timeouts = environment, timeouts or Timeouts()
        self._pending = PendingPrompts(self._timeouts.silence)
        self._stopping = asyncio.Event()
        self._shortage = Shortage()
        self._bell = DoorbellClient(workspace.files.bell)

    def stop(self) -> None:
        """Take nothing new, stop the running turn, and let `run` return. Claims stay for the successor to release."""
        self._stopping.set()
        self._bell.wake()

    def correlation_id(self) -> str | None:
        """Return the id of what is being answered now, for the log."""
        answering = self._pending.answering
        return answering[0].correlation_id if answering else None

    async def run(self) -> ExitCode:
        """Serve the session until stopped or idle for too long.

        Raises:
            nanoclaw_wire.session_files.WrongProtocol: A session file is of another version; nothing was changed.
            OSError: The gateway's port is taken, or there is no place for temporary files.
            nanoclaw_wire.outbound.Superseded: Another runner has taken the session over.
        apsw.Error: outbound.db cannot be written. Nothing is lost: what is not acknowledged stays pending.
        """
        async with self._session() as session:
            session.heartbeat.touch()
            messenger = self._messenger(session)
            async with self._gateway() as gateway_url, self._ncl(messenger) as environment:
                provider = self._connect(self._context(messenger, gateway_url, environment))
                if provider is None:
                    self._apologise(session)
                    return ExitCode.NO_PROVIDER
                return await self._serve(session, provider)

    def _connect(self, context: ProviderContext) -> Provider | None:
        try:
            return self._plugins.offer(self._config.provider).connect(context)
        except NoProvider as error:
            log.error("no provider", extra={"reason": str(error)})
        except Exception as error:  # a provider may raise anything when it is made, an SDK that is missing foremost
            if is_exhausted(error):
                raise
            log.exception("provider cannot be started", extra={"provider": self._config.provider})
        return None

    async def _serve(self, session: Session, provider: Provider) -> ExitCode:
        fragments = [fragment for part in self._plugins.loaded for fragment in part.instructions]
        continuation = Continuation(session.outbox, self._config.provider)
        log.info("runner ready", extra={"session": self._config.session_id, "provider": self._config.provider})
        try:
            await TurnLoop(session, provider, continuation, fragments).run()
        except Exception as error:  # whatever a turn met: only the want of room is told by the exit code
            if not is_exhausted(error) or is_out_of_memory(error):
                raise  # a prompt that does not fit into memory never will: that counts as a failed try
            log.exception("no room to work in")  # what was claimed stays pending for a later runner
            return ExitCode.NO_ROOM
        finally:
            await self._close(provider)
        log.info("runner leaves", extra={"session": self._config.session_id})
        return ExitCode.DONE

    async def _close(self, provider: Provider) -> None:
        try:
            async with asyncio.timeout(self._timeouts.abort_s):
                await provider.close()
        except Exception:  # the process ends in any case
            log.warning("provider did not close cleanly", exc_info=True)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        files, activity = self._workspace.files, ActivityTracker()
        # First of all: opening it repairs what a killed runner left, and the host must never do that.
        outbox = Outbox(files.outbound_db, ring=self._bell.ring, activity=activity)
        keep = self._config.max_messages_per_prompt
        inbox = Inbox(files.inbound_db, outbox, keep_open=lambda: self._bell.connected, keep=keep)
        try:
            inbox.highest()  # asks for the protocol before anything is changed
            released = outbox.take_over()
            log.info("claims of a former runner released", extra={"count": released})
            outbox.write_activity()
            await self._bell.open()
            yield Session(
                config=self._config,
                workspace=self._workspace,
                timeouts=self._timeouts,
                bell=self._bell,
                inbox=inbox,
                outbox=outbox,
                activity=activity,
                pending=self._pending,
                outage_notice=OutageNotice(self._timeouts.trouble_s),
                shortage=self._shortage,
                outbound=OutboundBuilder(inbox, lambda: rows_of(self._pending.answering)),
                heartbeat=Heartbeat(files.heartbeat),
                stopping=self._stopping,
            )
        finally:
            await self._bell.close()
            inbox.close()
            outbox.close()

    @contextlib.asynccontextmanager
    async def _gateway(self) -> AsyncIterator[str | None]:
        if self._config.gateway_port is None:
            yield None
            return
        forwarder = Forwarder(self._workspace.files.gateway)
        port = await forwarder.open(self._config.gateway_port)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await forwarder.close()

    @contextlib.asynccontextmanager
    async def _ncl(self, messenger: Messenger) -> AsyncIterator[Mapping[str, str]]:
        if not self._config.has_cli:
            yield self._environment
            return
        answer_s = self._timeouts.ncl_answer_s
        async with offer_ncl(messenger, self._environment, answer_s=answer_s, shortage=self._shortage) as environment:
            yield environment

    def _context(
        self, messenger: Messenger, gateway_url: str | None, environment: Mapping[str, str]
    ) -> ProviderContext:
        config, workspace = self._config, self._workspace
        state = workspace.files.state / config.provider
        state.mkdir(parents=True, exist_ok=True)
        return ProviderContext(
            working_directory=workspace.agent,
            state_directory=state,
            extra_directories=workspace.extra_directories(),
            gateway_url=gateway_url,
            assistant_name=config.assistant_name,
            model=config.model,
            effort=config.effort,
            options=config.provider_options,
            mcp_servers=config.mcp_servers,
            tools=self._tools(messenger),
            environment=environment,
        )

    def _messenger(self, session: Session) -> Messenger:
        return Messenger(
            workspace=self._workspace,
            inbox=session.inbox,
            outbox=session.outbox,
            pending=self._pending,
            outbound=session.outbound,
        )

    def _tools(self, messenger: Messenger) -> list[Tool]:
        tools = list(message_tools(messenger))
        for part in self._plugins.loaded:
            try:
                tools += part.tools(messenger)
            except Exception as error:  # a plugin may raise anything; the others' tools are still there
                if is_exhausted(error):
                    raise
                log.exception("tools not made", extra={"plugin": part.name})
        return [self._shortage.guard(tool) for tool in tools]

    def _apologise(self, session: Session) -> None:
        """Tell people who wait that no answer will come, once."""
        rows = [row for row in session.inbox.look() if row.trigger]
        if not rows:
            return
        reference = rows[0].correlation_id or rows[0].id
        text = words_without_provider(self._config.provider, reference)
        log.error("messages failed without a provider", extra={"count": len(rows), "reference": reference})
        session.outbox.settle(
            [row.id for row in rows],
            messages=failure(rows, text),
            highest_inbound=session.inbox.highest(),
            failed=True,
        )
