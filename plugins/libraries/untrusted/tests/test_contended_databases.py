"""Writes to SQLite files that another party may lock."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest
from nanoclaw_untrusted import contended_databases
from nanoclaw_untrusted.contended_databases import ContendedWriters
from nanoclaw_wire.errors import NanoclawError


class Files:
    """Writers of files with one table, and the batches and the released keys."""

    def __init__(self, folder: Path, lock_timeout_s: float) -> None:
        self.folder = folder
        self.batches: list[list[int]] = []
        self.released: list[str] = []
        self.writers = ContendedWriters[str, int, str](
            self.open, self.write, released=self.released.append, name="file {}", lock_timeout_s=lock_timeout_s
        )

    def open(self, key: str) -> apsw.Connection:
        db = apsw.Connection(str(self.folder / key))
        db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER CHECK (a > 0))")
        return db

    def write(self, key: str, items: Sequence[int]) -> list[str]:
        db = self.writers.connection(key)
        with db:
            db.executemany("INSERT INTO t VALUES (?)", [(item,) for item in items])
        self.batches.append(list(items))
        return [f"{key}{item}" for item in items]

    def lock(self, key: str) -> apsw.Connection:
        """Lock a file as another party does; closing the connection unlocks it."""
        db = self.open(key)
        db.execute("BEGIN EXCLUSIVE")
        return db


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, lock_timeout_s=0.1)


async def error_of(future: asyncio.Future[str]) -> str:
    with pytest.raises(NanoclawError) as caught:
        await future
    return str(caught.value)


def test_items_that_arrive_together_share_a_commit(files: Files) -> None:
    async def scenario() -> list[str]:
        together = await asyncio.gather(*(files.writers.append("a", item) for item in (1, 2)))
        return [*together, await files.writers.append("a", 3)]

    assert asyncio.run(scenario()) == ["a1", "a2", "a3"]
    assert files.batches == [[1, 2], [3]]


def test_write_to_a_file_that_stays_locked_fails(files: Files) -> None:
    async def scenario() -> list[str]:
        return [await error_of(files.writers.append("a", 1)), await files.writers.append("b", 2)]

    held = files.lock("a")
    assert asyncio.run(scenario()) == ["file a stayed locked for 0.1 s", "b2"]
    held.close()


def test_write_waits_for_a_short_lock(tmp_path: Path) -> None:
    files = Files(tmp_path, lock_timeout_s=60)

    async def scenario() -> str:
        held = files.lock("a")
        stored = files.writers.append("a", 1)
        asyncio.get_running_loop().call_later(2 * contended_databases.RETRY_S, held.close)
        return await stored

    assert asyncio.run(scenario()) == "a1"


def test_failed_write_closes_the_file_and_stores_nothing(files: Files) -> None:
    async def scenario() -> str:
        kept, failed = files.writers.append("a", 1), files.writers.append("a", -1)
        await error_of(kept)
        return await error_of(failed)

    assert asyncio.run(scenario()).startswith("file a cannot be written: CHECK constraint failed")
    assert files.released == ["a"]
    assert files.open("a").execute("SELECT count(*) FROM t").get == 0


def test_close_fails_the_pending_writes(files: Files) -> None:
    async def scenario() -> str:
        stored = files.writers.append("a", 1)
        assert files.writers.is_writing("a")
        files.writers.close()
        return await error_of(stored)

    assert asyncio.run(scenario()) == "the host stopped before the message of a was stored"
    assert files.batches == []


def test_least_used_file_is_closed(files: Files) -> None:
    for number in range(contended_databases.MAX_OPEN):
        files.writers.connection(f"{number}")
    files.writers.connection("0")
    files.writers.connection("another")
    assert files.released == ["1"]
    files.writers.close()
