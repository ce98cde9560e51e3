"""Ends the runner if something that works for the model meets an exhausted machine (see `is_exhausted`).

A provider tells the model of a tool that failed. For a full disk that would be wrong: the model would blame the file,
and answer half of the question. So such an error never reaches the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

from attrs import evolve
from nanoclaw_wire.exhaustion import is_exhausted

from nanoclaw_runner.provider import Tool


class Shortage:
    """The first such error of one runner."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._is_met = asyncio.Event()

    def met(self, error: Exception) -> None:
        """Note an error; the open conversation ends with it, or the next one."""
        self._error = self._error or error
        self._is_met.set()

    async def wait(self) -> NoReturn:
        """Wait for an error, and raise it."""
        await self._is_met.wait()
        assert self._error is not None
        raise self._error

    def guard(self, tool: Tool) -> Tool:
        """Return a tool that does not return after such an error: its turn ends without it."""

        async def run(arguments: Mapping[str, Any]) -> str:
            try:
                return await tool.run(arguments)
            except Exception as error:  # only the machine's errors are kept from the provider
                if not is_exhausted(error):
                    raise
                self.met(error)
            return await asyncio.Future()  # cancelled with the query

        return evolve(tool, run=run)
