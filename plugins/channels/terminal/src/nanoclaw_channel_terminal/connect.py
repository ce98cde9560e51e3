"""Connects to the host of an instance directory, or runs one inside this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from nanoclaw_cli.invocation import Invocation
from nanoclaw_client.errors import TransportError

from nanoclaw_channel_terminal.connection import Connection
from nanoclaw_channel_terminal.display import StatusLine
from nanoclaw_core import AlreadyRunning

ATTACH_TIMEOUT_S = 10.0  # from a started host to its socket; a loaded slow machine needs a second
POLL_S = 0.02


@contextlib.asynccontextmanager
async def attached(invocation: Invocation, status: StatusLine) -> AsyncIterator[Connection]:
    """Attach to the running host, or run a host until the block ends.

    Args:
        invocation: Names the instance directory.
        status: Shows the progress of the start.

    Raises:
        TransportError: A host runs, but its terminal channel cannot be reached.
        NanoclawError: No host can be started. The message gives the reason.
    """
    async with contextlib.AsyncExitStack() as stack:
        connection = await _attach(invocation)
        if connection is None:
            # This import loads most of the host's code, which an attached terminal does not need.
            from nanoclaw_cli.embedded import running_host

            status.show("starting a host")
            with contextlib.suppress(AlreadyRunning):  # another host is starting; its socket follows in a moment
                await stack.enter_async_context(running_host(invocation, progress=status.print))
            connection = await _attach_when_ready(invocation)
        stack.push_async_callback(connection.close)
        yield connection


async def _attach(invocation: Invocation) -> Connection | None:
    try:
        return await Connection.open(invocation.home)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise TransportError(
            f"the host on {invocation.home} cannot be reached: {error}. Does it belong to another user?"
        ) from error


async def _attach_when_ready(invocation: Invocation) -> Connection:
    deadline = asyncio.get_running_loop().time() + ATTACH_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline:
        connection = await _attach(invocation)
        if connection is not None:
            return connection
        await asyncio.sleep(POLL_S)
    raise TransportError(
        f"a host runs on {invocation.home}, but its terminal channel does not work."
        " `ncl plugins list` and `ncl logs` show why."
    )
