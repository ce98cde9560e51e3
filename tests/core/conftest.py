import gc
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from nanoclaw_core.testing.instance import Instance


@pytest.fixture
def instance(nanoclaw_instance: Instance) -> Iterator[Instance]:
    """Return an instance. Its agent `agent` is wired to the room `room` and answers each message."""
    nanoclaw_instance.wire()
    yield nanoclaw_instance
    gc.collect()


@pytest.fixture
def bare_instance(nanoclaw_instance: Instance) -> Instance:
    """Return an instance without agents and rooms."""
    return nanoclaw_instance


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty directory of distributions; no installed distribution of ours is on the path."""
    path = tmp_path / "site"
    path.mkdir()
    import_module("regex")  # the core imports it with the first pattern, and it is not on the path below
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(path), *(p for p in sys.path if "site-packages" not in p)])
    yield path
    for name in set(sys.modules) - before:
        if str(path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
