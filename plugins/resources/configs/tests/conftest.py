"""Fixture: a host with one agent group, for tests that send requests as the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from agents_host import Hosted, hosted

from nanoclaw_core.testing.instance import Instance

Scenario = Callable[[Hosted, str], Awaitable[None]]


@pytest.fixture
def run(nanoclaw_instance: Instance) -> Callable[[Scenario], None]:
    """Return a function that runs a scenario with a host and the id of its agent group."""
    group = nanoclaw_instance.group()

    def run_scenario(scenario: Scenario) -> None:
        async def work() -> None:
            async with hosted(nanoclaw_instance) as host:
                await scenario(host, group.id)

        asyncio.run(work())

    return run_scenario
