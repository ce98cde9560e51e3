"""A real control group for tests, on a machine that lets this process create one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_runtime_process.cgroup import Cgroup, NoCgroup, own_directory

from nanoclaw_core import Limits


@pytest.fixture
def kernel_group() -> Iterator[Path]:
    """Create a real control group."""
    try:
        own = own_directory(*(Path("/proc/self", name).read_text() for name in ("cgroup", "mountinfo")))
        directory = own / f"nanoclaw-test-{secrets.token_hex(4)}"
        directory.mkdir()
    except (NoCgroup, OSError) as error:
        pytest.skip(f"no control group can be created here: {error}")
    yield directory
    for left in (*directory.glob("*/"), directory):
        Cgroup(directory=left, controllers=(), limits=Limits()).remove()
    assert not directory.exists()
