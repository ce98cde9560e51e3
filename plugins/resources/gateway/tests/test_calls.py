"""Records of calls in the database."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from aiohttp import web
from gateway_requests import Opened, echo, until
from nanoclaw_resource_gateway.rows import prune
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_wire import clock

from nanoclaw_core import TokenCount


class _Counting:
    def __init__(self, _content_type: str) -> None:
        self.size_bytes = 0

    def feed(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)

    def count(self) -> TokenCount:
        return TokenCount(model="model-of-the-test", input_tokens=self.size_bytes, output_tokens=7)


def test_call_is_recorded_with_usage_and_without_query(opened: Opened) -> None:
    async def four(_request: web.Request) -> web.Response:
        return web.Response(body=b"four")

    async def scenario() -> None:
        async with opened(four, usage=_Counting) as (setup, client):
            async with client.post("/api/v1/messages?token=hidden", data=b"x") as answer:
                await answer.read()
            await until(setup.calls)
            row = setup.calls()[0]
            assert row.pop("duration_ms") >= 0
            assert clock.from_text(row.pop("at")) <= clock.now()
            assert row == {
                **{"id": 1, "agent_group_id": "ag-000000000001", "session_id": "ses-000000000001"},
                **{"upstream": "api", "method": "POST", "path": "/v1/messages", "status": 200, "error": None},
                **{"model": "model-of-the-test", "input_tokens": 4, "output_tokens": 7},
            }

    asyncio.run(scenario())


def test_calls_of_a_moment_share_one_commit(opened: Opened) -> None:
    """Each commit waits for the disk while the event loop serves no session."""

    async def scenario() -> int:
        async with opened(echo) as (setup, client):
            commits = 0

            def count() -> bool:
                nonlocal commits
                commits += 1
                return False

            setup.database.set_commit_hook(count)
            for _ in range(20):
                async with client.get("/api/x") as answer:
                    await answer.read()
            await setup.gateway.close_endpoint(setup.session_id)
            assert len(setup.calls()) == 20
            return commits

    assert asyncio.run(scenario()) < 20


def test_call_values_of_a_strange_answer_are_bounded(opened: Opened) -> None:
    class Strange(_Counting):
        def count(self) -> TokenCount:
            return TokenCount(model="m\udcff" * 500, input_tokens=-1, output_tokens=10**30)

    async def scenario() -> None:
        async with opened(echo, usage=Strange) as (setup, client):
            async with client.get("/api/" + "x" * 2_000) as answer:
                await answer.read()
            await setup.gateway.close_endpoint(setup.session_id)
            row = setup.calls()[0]
            assert (len(row["path"]), row["model"][:8], row["input_tokens"]) == (500, "m\\udcffm", 0)
            assert row["output_tokens"] == 2**53
            assert len(row["model"]) < 500

    asyncio.run(scenario())


def test_prune_deletes_old_calls(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(echo, settings=Settings(keep_days=2)) as (setup, client):
            for _ in range(2):
                async with client.get("/api/x") as answer:
                    await answer.read()
            await until(lambda: len(setup.calls()) == 2)
            past = clock.to_text(clock.now() - timedelta(days=3))
            setup.database.execute("UPDATE gateway_calls SET at = ? WHERE id = 1", (past,))
            await prune(setup.context)
            assert [row["id"] for row in setup.calls()] == [2]

    asyncio.run(scenario())
