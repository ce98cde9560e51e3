import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_core.testing.instance import Instance, make_instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance whose agent `agent` is wired to the room `room` and answers everything."""
    made = make_instance(tmp_path / "home")
    made.wire()
    yield made
    made.db.close()
    gc.collect()


@pytest.fixture
def bare_instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance without agents and rooms."""
    made = make_instance(tmp_path / "home")
    yield made
    made.db.close()
