"""The runtime contract on processes with bubblewrap and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from nanoclaw_runtime_process.bubblewrap_command import counts_processes_per_sandbox

from nanoclaw_core.testing.runtime_contract import RuntimeContract


@pytest.mark.bubblewrap
class TestBubblewrap(RuntimeContract):
    """The whole contract, except a memory limit for all processes together."""

    plugin = "nanoclaw_runtime_process.host"
    counts_memory_of_all = False
    counts_processes = counts_processes_per_sandbox()
    own_variables = RuntimeContract.own_variables | {"NANOCLAW_PARENT_WATCHDOG"}


class TestUnconfined(RuntimeContract):
    """The contract without isolation, which the runtime reports."""

    plugin = "nanoclaw_runtime_process.host"
    isolates: ClassVar[bool] = False
    counts_processes: ClassVar[bool] = False

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"bubblewrap": "no-such-bubblewrap"}
