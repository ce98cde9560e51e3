import gc
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from outbox_session import LIMIT, SESSION, Side

from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import OutboxReader
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
    """Return an empty directory of distributions.

    No installed distribution of ours is on the path.
    """
    path = tmp_path / "site"
    path.mkdir()
    import_module("regex")  # the core imports it with the first pattern, and it is not on the path below
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(path), *(p for p in sys.path if "site-packages" not in p)])
    yield path
    for name in set(sys.modules) - before:
        if str(path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    directories = open_root(tmp_path)
    layout = directories.create(SESSION)
    outbox = OutboxReader(directories, file_bytes=LIMIT)
    signal.alarm(30)  # Python cannot interrupt a reader that hangs in open()
    yield Side(outbox, layout, tmp_path)
    signal.alarm(0)
    outbox.close()
