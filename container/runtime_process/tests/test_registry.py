"""Leftovers of a dead host are known by number and start time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nanoclaw_runtime_process.registry import ProcessRegistry, identity_of


def test_a_leftover_is_killed_and_forgotten(tmp_path: Path) -> None:
    with _sleeper() as process:
        ProcessRegistry(tmp_path).record("old", process.pid)
        assert ProcessRegistry(tmp_path).end_leftovers() == 1
        assert process.wait(30) == -9
    assert ProcessRegistry(tmp_path).end_leftovers() == 0
    assert not list(tmp_path.iterdir())


def test_a_process_that_got_the_number_of_a_dead_one_is_spared(tmp_path: Path) -> None:
    with _sleeper() as process:
        ProcessRegistry(tmp_path).record("old", process.pid)
        (path,) = tmp_path.iterdir()
        path.write_text(json.dumps({**json.loads(path.read_text()), "identity": "another boot 1"}))
        assert ProcessRegistry(tmp_path).end_leftovers() == 0
        assert process.poll() is None
        process.kill()


def test_our_own_are_spared(tmp_path: Path) -> None:
    with _sleeper() as process:
        registry = ProcessRegistry(tmp_path)
        registry.record("mine", process.pid)
        assert registry.end_leftovers() == 0
        assert process.poll() is None
        process.kill()


def test_a_file_that_a_crash_cut_short_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text('{"name": "o')
    assert ProcessRegistry(tmp_path).end_leftovers() == 0
    assert not list(tmp_path.iterdir())


def test_a_process_keeps_its_identity_and_a_dead_one_has_none() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid()) is not None
    with _sleeper() as process:
        process.kill()
        process.wait(30)
        assert identity_of(process.pid) is None


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
