"""Claude's program, its provider, the runner's forwarder, the gateway's socket and a scripted platform together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
from nanoclaw_provider_claude import host as claude
from nanoclaw_provider_claude.runner import ClaudeProvider
from nanoclaw_resource_gateway.gateway import SessionGateway
from nanoclaw_resource_gateway.rows import create_calls
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_runner.forwarder import Forwarder
from nanoclaw_runner.provider import LiveQuery, ProviderContext
from nanoclaw_wire.events import Error, ErrorClass, Progress, Result

from nanoclaw_core import GatewayEndpoint, GroupId, PluginContext, SessionId
from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.messages_script import Step

WAIT_S = 60.0
PUSH = "11111111-1111-4111-8111-111111111111"
KEY = "sk-ant-api03-the-real-one"


class Place:
    """A host's gateway, a sandbox's provider that uses its socket, and their database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.database = apsw.Connection(":memory:")
        create_calls(self.database)

    @contextlib.asynccontextmanager
    async def conversation(self, environment: dict[str, str], *, max_retries: int = 0) -> AsyncIterator[LiveQuery]:
        """Open a conversation of a sandbox, with the host's environment variables."""
        gateway = SessionGateway(Settings(), self._host_context(environment))
        running = asyncio.create_task(gateway.run())
        socket = self._folder / "gateway.sock"
        await gateway.open_endpoint(
            GatewayEndpoint(
                session_id=SessionId("ses-000000000001"),
                agent_group_id=GroupId("ag-000000000001"),
                socket=socket,
                upstreams=claude.upstreams(claude.Settings(), environment),
            )
        )
        async with _forwarder(socket) as url:
            provider = ClaudeProvider(self._sandbox_context(url, max_retries))
            try:
                yield await provider.query("hello", push_id=PUSH, continuation=None, instructions="")
            finally:
                await provider.close()
                running.cancel()
                await asyncio.wait([running])

    def _host_context(self, environment: dict[str, str]) -> PluginContext:
        return PluginContext(
            plugin="gateway",
            instance_id="0" * 12,
            home=self._folder,
            data_dir=self._folder,
            run_dir=self._folder,
            environment=environment,
            database=self.database,
        )

    def _sandbox_context(self, url: str, max_retries: int) -> ProviderContext:
        for name in ("agent", "state"):
            (self._folder / name).mkdir()
        return ProviderContext(
            working_directory=self._folder / "agent",
            state_directory=self._folder / "state",
            extra_directories=[],
            gateway_url=url,
            assistant_name="",
            model=None,
            effort=None,
            options=claude.options(claude.Settings(max_retries=max_retries), {}),
            mcp_servers={},
            tools=[],
            environment={},
        )


@contextlib.asynccontextmanager
async def _forwarder(socket: Path) -> AsyncIterator[str]:
    """Forward a local port to a socket, as the runner does in a sandbox."""
    forwarder = Forwarder(socket)
    port = await forwarder.open(0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await forwarder.close()


async def _outcome(query: LiveQuery) -> Result | Error:
    async with asyncio.timeout(WAIT_S):
        async for event in query.events():
            if isinstance(event, Result | Error):
                return event
    raise AssertionError("the conversation ended without an outcome")


def test_gateway_adds_the_key_and_records_the_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        place = Place(tmp_path)
        async with FakeMessagesApi([Step(text="four words for you", cache_read_tokens=3)], key=KEY) as api:
            environment = {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
            async with place.conversation(environment) as query:
                assert await _outcome(query) == Result(text="four words for you", answers=[PUSH])
            assert all(request.headers["x-api-key"] == KEY for request in api.requests)
        columns = "session_id, upstream, method, path, status, output_tokens, error"
        row = place.database.execute(f"SELECT {columns} FROM gateway_calls WHERE path = '/v1/messages'").fetchone()
        assert row == ("ses-000000000001", "anthropic", "POST", "/v1/messages", 200, 5, None)

    asyncio.run(scenario())
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert contents
    assert not any(KEY.encode() in content for content in contents)


def test_subscription_token_keeps_the_programs_betas(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeMessagesApi([Step(text="fine")], bearer=KEY) as api:
            environment = {"ANTHROPIC_BASE_URL": api.url, "CLAUDE_CODE_OAUTH_TOKEN": KEY}
            async with Place(tmp_path).conversation(environment) as query:
                assert await _outcome(query) == Result(text="fine", answers=[PUSH])
            betas = api.conversations[0].headers["anthropic-beta"].split(",")
            assert "oauth-2025-04-20" in betas
            assert len(betas) > 1

    asyncio.run(scenario())


def test_missing_key_error_names_the_variable(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Place(tmp_path).conversation({}) as query:
            error = await _outcome(query)
            assert isinstance(error, Error)
            assert (error.kind, error.retryable) == (ErrorClass.AUTHENTICATION, False)
            assert "ANTHROPIC_API_KEY" in error.message

    asyncio.run(scenario())


def test_platform_outage_is_a_retryable_connection_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeMessagesApi() as api:
            closed_url = api.url
        environment = {"ANTHROPIC_BASE_URL": closed_url, "ANTHROPIC_API_KEY": KEY}
        async with Place(tmp_path).conversation(environment, max_retries=1) as query:
            errors = []
            async with asyncio.timeout(WAIT_S):
                async for event in query.events():
                    if isinstance(event, Error):
                        break
                    errors += [event.error] if isinstance(event, Progress) else []
            assert (event.kind, event.retryable) == (ErrorClass.CONNECTION, True)
            assert KEY not in event.message
            assert errors == [ErrorClass.CONNECTION]  # reported before the retry, so that people can be informed

    asyncio.run(scenario())
