"""Ends the runner if a tool of the model meets an exhausted machine (see `is_exhausted`).

A provider reports a failed tool to the model. For a full disk that would be wrong: the model would blame the file and
give half an answer. So such an error never reaches the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

from attrs import evolve
from nanoclaw_wire.exhaustion import is_exhausted

from nanoclaw_runner.provider import Tool


class Shortage:
    """The first error of an exhausted machine in one runner."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._is_reported = asyncio.Event()

    def report(self, error: Exception) -> None:
        """Record an error; it ends the open query, or the next one."""
        self._error = self._error or error
        self._is_reported.set()

    async def wait(self) -> NoReturn:
        """Wait for an error and raise it."""
        await self._is_reported.wait()
        assert self._error is not None
        raise self._error

    def guard(self, tool: Tool) -> Tool:
        """Return a tool that never returns after such an error: its turn ends without it."""

        async def run(arguments: Mapping[str, Any]) -> str:
            try:
                return await tool.run(arguments)
            except Exception as error:  # the provider gets all other errors
                if not is_exhausted(error):
                    raise
                self.report(error)
            return await asyncio.Future()  # cancelled with the query

        return evolve(tool, run=run)
