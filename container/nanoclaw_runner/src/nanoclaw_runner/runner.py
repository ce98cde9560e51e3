"""Builds the parts of a runner, runs it and closes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from enum import IntEnum

from nanoclaw_wire.config import RunnerConfig
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM, is_exhausted, is_out_of_memory

from nanoclaw_runner.continuation import Continuation
from nanoclaw_runner.error_messages import no_provider_text
from nanoclaw_runner.forwarder import Forwarder
from nanoclaw_runner.heartbeat import Heartbeat
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.messenger import Messenger
from nanoclaw_runner.ncl import offer_ncl
from nanoclaw_runner.outage_notice import OutageNotice
from nanoclaw_runner.outbound_builder import OutboundBuilder, failure_messages
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import PendingPrompts
from nanoclaw_runner.plugins import NoProvider, RunnerPlugins
from nanoclaw_runner.prompt import PromptContext
from nanoclaw_runner.provider import Provider, ProviderContext, Tool
from nanoclaw_runner.session import SessionState
from nanoclaw_runner.shortage import Shortage
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_runner.tools import message_tools
from nanoclaw_runner.turn_loop import TurnLoop
from nanoclaw_runner.workspace import Workspace

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """Exit code of the runner."""

    DONE = 0
    FAILED = 1
    WRONG_CONFIG = 2
    WRONG_PROTOCOL = 3
    NO_PROVIDER = 4
    NO_ROOM = EXIT_NO_ROOM


class Runner:
    """The runner of one session. It handles no signals and configures no logging; its program does.

    Args:
        workspace: The sandbox's directories.
        config: The session's configuration.
        plugins: The installed runner plugins.
        environment: The sandbox's environment, for providers.
        timeouts: None for the defaults, with the pauses of the configuration.
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
        self._environment = environment
        self._timeouts = timeouts or Timeouts(turn_pauses_s=config.turn_pauses_s)
        self._pending = PendingPrompts(self._timeouts.silence)
        self._stopping = asyncio.Event()
        self._shortage = Shortage()
        self._bell = DoorbellClient(workspace.files.bell)

    def stop(self) -> None:
        """Claim nothing more, abort the running turn and let `run` return. The next runner releases the claims."""
        self._stopping.set()
        self._bell.wake()

    def correlation_id(self) -> str | None:
        """Return the correlation id of the running turn, for the log; None if no turn runs."""
        answering = self._pending.answering
        return answering[0].correlation_id if answering else None

    async def run(self) -> ExitCode:
        """Serve the session until stopped or idle for too long.

        Raises:
            nanoclaw_wire.session_files.WrongProtocol: A session file is of another version; nothing was changed.
            OSError: The gateway's port is in use, or temporary files cannot be created.
            nanoclaw_wire.outbound.Superseded: Another runner has acquired the session.
            apsw.Error: outbound.db cannot be written. Nothing is lost: unacknowledged rows stay pending.
        """
        async with self._session() as session:
            session.heartbeat.touch()
            messenger = self._messenger(session)
            async with self._gateway() as gateway_url, self._ncl(messenger) as environment:
                provider = self._connect(self._context(messenger, gateway_url, environment))
                if provider is None:
                    self._fail_all(session)
                    return ExitCode.NO_PROVIDER
                return await self._serve(session, provider)

    def _connect(self, context: ProviderContext) -> Provider | None:
        try:
            return self._plugins.offer(self._config.provider).connect(context)
        except NoProvider as error:
            log.error("no provider", extra={"reason": str(error)})
        except Exception as error:  # a provider may raise anything, for example if its SDK is missing
            if is_exhausted(error):
                raise
            log.exception("provider cannot be started", extra={"provider": self._config.provider})
        return None

    async def _serve(self, session: SessionState, provider: Provider) -> ExitCode:
        fragments = [fragment for plugin in self._plugins.loaded for fragment in plugin.instructions]
        continuation = Continuation(session.outbox, self._config.provider)
        log.info("runner ready", extra={"session": self._config.session_id, "provider": self._config.provider})
        try:
            await TurnLoop(session, provider, continuation, fragments).run()
        except Exception as error:  # only an exhausted machine has an exit code of its own
            if not is_exhausted(error) or is_out_of_memory(error):
                raise  # a prompt that does not fit into memory never will, so the host must count the try
            log.exception("machine is exhausted")  # claimed rows stay pending for a later runner
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
    async def _session(self) -> AsyncIterator[SessionState]:
        files, config = self._workspace.files, self._config
        # Open it first: that recovers the journal of a killed runner, which the host must never do.
        outbox = Outbox(files.outbound_db, self._bell)
        inbox = Inbox(files.inbound_db, outbox, max_context=config.max_messages_per_prompt)
        try:
            inbox.highest()  # checks the protocol before the first write
            log.info("claims of a former runner released", extra={"count": outbox.acquire()})
            outbox.write_activity()
            await self._bell.open()
            yield SessionState(
                config=config,
                timeouts=self._timeouts,
                bell=self._bell,
                inbox=inbox,
                outbox=outbox,
                pending=self._pending,
                prompt_context=PromptContext(timezone=config.timezone, incoming=files.incoming),
                outage_notice=OutageNotice(self._timeouts.trouble_s),
                shortage=self._shortage,
                outbound=OutboundBuilder(inbox, self._pending),
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

    def _messenger(self, session: SessionState) -> Messenger:
        return Messenger(
            workspace=self._workspace,
            inbox=session.inbox,
            outbox=session.outbox,
            pending=self._pending,
            outbound=session.outbound,
        )

    def _tools(self, messenger: Messenger) -> list[Tool]:
        tools = list(message_tools(messenger))
        for plugin in self._plugins.loaded:
            try:
                tools += plugin.tools(messenger)
            except Exception as error:  # a plugin may raise anything; the tools of the others still work
                if is_exhausted(error):
                    raise
                log.exception("tools not made", extra={"plugin": plugin.name})
        return [self._shortage.guard(tool) for tool in tools]

    def _fail_all(self, session: SessionState) -> None:
        """Fail all pending messages, and tell people the reason."""
        rows = [row for row in session.poll() if row.trigger]
        if not rows:
            return
        reference = rows[0].correlation_id or rows[0].id
        text = no_provider_text(self._config.provider, reference)
        log.error("messages failed without a provider", extra={"count": len(rows), "reference": reference})
        session.outbox.settle(
            [row.id for row in rows],
            messages=failure_messages(rows, text),
            highest_inbound=session.inbox.highest(),
            failed=True,
        )
