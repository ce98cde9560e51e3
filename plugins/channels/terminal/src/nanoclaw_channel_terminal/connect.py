"""Getting at a host: the one that runs on the instance directory, or one inside this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from nanoclaw_cli.invocation import Invocation
from nanoclaw_client.errors import TransportError

from nanoclaw_channel_terminal.connection import Connection
from nanoclaw_channel_terminal.display import StatusLine
from nanoclaw_core import AlreadyRunning

ATTACH_S = 10.0  # from a started host to its terminal; a slow machine under load needs a second
LOOK_S = 0.02


@contextlib.asynccontextmanager
async def attached(invocation: Invocation, status: StatusLine) -> AsyncIterator[Connection]:
    """Attach to the running host, or run one for as long as this lasts.

    Args:
        status: Shows the state of the start to a person.

    Raises:
        TransportError: A host runs, but its terminal cannot be reached.
        NanoclawError: No host could be started; the message says why.
    """
    async with contextlib.AsyncExitStack() as stack:
        connection = await _attach(invocation)
        if connection is None:
            from nanoclaw_cli.embedded import running_host  # most of a host's code, which attaching does not need

            status.show("starting a host")
            with contextlib.suppress(AlreadyRunning):  # one is just starting; its terminal comes in a moment
                await stack.enter_async_context(running_host(invocation, progress=status.print))
            connection = await _attach_soon(invocation)
        stack.push_async_callback(connection.close)
        yield connection


async def _attach(invocation: Invocation) -> Connection | None:
    try:
        return await Connection.open(invocation.home)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise TransportError(
            f"the host on {invocation.home} cannot be reached: {error}; is it another user's?"
        ) from error


async def _attach_soon(invocation: Invocation) -> Connection:
    deadline = asyncio.get_running_loop().time() + ATTACH_S
    while asyncio.get_running_loop().time() < deadline:
        connection = await _attach(invocation)
        if connection is not None:
            return connection
        await asyncio.sleep(LOOK_S)
    raise TransportError(
        f"a host runs on {invocation.home}, but it has no terminal; `ncl plugins list` and `ncl logs` say why"
    )
