import gc
import sys
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


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of installed distributions, and nothing else of ours installed."""
    path = tmp_path / "site"
    path.mkdir()
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(path), *(p for p in sys.path if "site-packages" not in p)])
    yield path
    for name in set(sys.modules) - before:
        if str(path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
