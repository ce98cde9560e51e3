"""An upstream that echoes, and a wait, for the tests of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

WAIT_S = 30.0
SECRET = "sk-ant-api03-the-real-one"
Opened = Any  # the fixture of conftest.py: a function that returns an async context manager


async def echo(request: web.Request) -> web.Response:
    seen = {"path": request.raw_path, "method": request.method, "headers": dict(request.headers)}
    return web.json_response(seen | {"body": (await request.read()).decode()})


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # the condition has no notification
            await asyncio.sleep(0.005)
