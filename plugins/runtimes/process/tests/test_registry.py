"""The registry identifies leftover processes by id and start time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nanoclaw_runtime_process.registry import ProcessRegistry, identity_of


def test_leftover_process_is_killed_and_forgotten(tmp_path: Path) -> None:
    with _sleeper() as process:
        ProcessRegistry(tmp_path).record("old", process.pid)
        assert ProcessRegistry(tmp_path).end_leftovers() == 1
        assert process.wait(30) == -9
    assert ProcessRegistry(tmp_path).end_leftovers() == 0
    assert not list(tmp_path.iterdir())


def test_process_with_a_reused_id_is_spared(tmp_path: Path) -> None:
    with _sleeper() as process:
        ProcessRegistry(tmp_path).record("old", process.pid)
        (path,) = tmp_path.iterdir()
        path.write_text(json.dumps({**json.loads(path.read_text()), "identity": "another boot 1"}))
        assert ProcessRegistry(tmp_path).end_leftovers() == 0
        assert process.poll() is None
        process.kill()


def test_own_process_is_spared(tmp_path: Path) -> None:
    with _sleeper() as process:
        registry = ProcessRegistry(tmp_path)
        registry.record("mine", process.pid)
        assert registry.end_leftovers() == 0
        assert process.poll() is None
        process.kill()


def test_truncated_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text('{"name": "o')
    assert ProcessRegistry(tmp_path).end_leftovers() == 0
    assert not list(tmp_path.iterdir())


def test_identity_is_stable_and_none_for_a_dead_process() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid()) is not None
    with _sleeper() as process:
        process.kill()
        process.wait(30)
        assert identity_of(process.pid) is None


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
