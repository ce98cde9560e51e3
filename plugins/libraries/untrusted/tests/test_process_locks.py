"""A lock that ends with its process."""

import os
from pathlib import Path

import pytest
from nanoclaw_untrusted.process_locks import LockHeld, ProcessLock


def test_held_lock_names_its_owner(tmp_path: Path) -> None:
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(LockHeld) as caught:
        second.acquire()
    assert caught.value.owner == str(os.getpid())
    first.release()
    second.acquire()
    second.release()
