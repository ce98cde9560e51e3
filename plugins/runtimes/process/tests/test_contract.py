"""The runtime contract on processes with bubblewrap and without."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from nanoclaw_runtime_process.bubblewrap_command import counts_processes_per_sandbox
from nanoclaw_runtime_process.cgroup import NoCgroup, choose_parent, family_of, own_directory

from nanoclaw_core.testing.runtime_contract import RuntimeContract
from nanoclaw_core.testing.runtime_place import Place
from nanoclaw_core.testing.runtime_scenario import run

SHARED_MEMORY = (
    "import mmap\nmap = mmap.mmap(-1, 300 * 2**20)\nfor at in range(0, len(map), 4096): map[at] = 1\nanswer(1)"
)
TEMPORARY_FILE = "with open('/tmp/file', 'wb') as file:\n    for _ in range(300): file.write(b'x' * 2**20)\nanswer(1)"


def can_limit_all() -> bool:
    try:
        own = own_directory(*(Path("/proc/self", name).read_text() for name in ("cgroup", "mountinfo")))
        return bool(choose_parent(own, family_of(os.getpid())))
    except (NoCgroup, OSError):
        return False


@pytest.mark.bubblewrap
class TestBubblewrap(RuntimeContract):
    """The whole contract; all processes together have a memory limit only if this process may create control groups."""

    plugin = "nanoclaw_runtime_process.host"
    counts_memory_of_all = can_limit_all()
    counts_processes = counts_processes_per_sandbox()
    own_variables = RuntimeContract.own_variables | {"NANOCLAW_PARENT_WATCHDOG"}

    @pytest.mark.parametrize("code", [SHARED_MEMORY, TEMPORARY_FILE], ids=["shared", "file"])
    def test_memory_of_no_process_is_limited(self, place: Place, code: str) -> None:
        """Shared memory and files in memory count, too (audit S11)."""
        if not self.counts_memory_of_all:
            pytest.skip("this process may not create control groups")
        ended = run(place, spec=place.spec(code, memory_bytes=128 * 2**20))
        assert (ended.reason, (place.outgoing / "answer.json").exists()) == ("out of memory", False)


class TestUnconfined(RuntimeContract):
    """The contract without isolation, which the runtime reports."""

    plugin = "nanoclaw_runtime_process.host"
    isolates: ClassVar[bool] = False
    counts_processes: ClassVar[bool] = False

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        return {"bubblewrap": "no-such-bubblewrap"}
