"""The trash: trees leave at once and are removed in a thread."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nanoclaw_wire.trash import Trash
from nanoclaw_wire.untrusted_paths import open_directory


def make_tree(path: Path, files: int) -> Path:
    """Make a tree of hard links, which are cheap."""
    path.mkdir()
    (path / "0").touch()
    for number in range(1, files):
        os.link(path / "0", path / str(number))
    return path


def test_trash_is_emptied(tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")
    trash.put(make_tree(tmp_path / "tree", 3), sync=True)
    with open_directory(make_tree(tmp_path / "other", 3)) as folder:
        trash.put("1", inside=folder)

    async def scenario() -> bool:
        return await trash.empty()

    assert os.listdir(tmp_path / "other") in (["0", "2"], ["2", "0"])
    assert len(os.listdir(tmp_path / "trash")) == 2
    assert asyncio.run(scenario())
    assert os.listdir(tmp_path / "trash") == []


def test_trash_that_was_never_used_is_empty(tmp_path: Path) -> None:
    async def scenario() -> bool:
        return await Trash(tmp_path / "trash").empty()

    assert asyncio.run(scenario())


def test_missing_tree_cannot_be_put_into_the_trash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Trash(tmp_path / "trash").put(tmp_path / "none")


def test_link_is_moved_and_not_followed(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", 3)
    (tmp_path / "link").symlink_to(tree)
    trash = Trash(tmp_path / "trash")
    trash.put(tmp_path / "link")

    async def scenario() -> bool:
        return await trash.empty()

    assert asyncio.run(scenario())
    assert len(os.listdir(tree)) == 3


def test_tree_that_is_put_during_a_removal_is_removed_too(tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")

    async def scenario() -> bool:
        worker = ThreadPoolExecutor(max_workers=1)
        asyncio.get_running_loop().set_default_executor(worker)
        trash.put(make_tree(tmp_path / "first", 3))
        first = trash.empty()
        await asyncio.sleep(0)
        worker.submit(lambda: None).result()  # the thread has ended, and the event loop does not know it yet
        trash.put(make_tree(tmp_path / "second", 3))
        assert trash.empty() is first
        return await first

    assert asyncio.run(scenario())
    assert os.listdir(tmp_path / "trash") == []


def test_closed_trash_leaves_the_rest_to_the_next_process(tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")

    async def scenario() -> bool:
        trash.put(make_tree(tmp_path / "tree", 3))
        removal = trash.empty()
        await trash.close()
        return await removal

    async def next_process() -> bool:
        return await Trash(tmp_path / "trash").empty()

    assert not asyncio.run(scenario())
    assert os.listdir(tmp_path / "trash") != []
    assert asyncio.run(next_process())
    assert os.listdir(tmp_path / "trash") == []


def test_failed_removal_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "trash").write_text("no directory")
    trash = Trash(tmp_path / "trash")

    async def scenario() -> list[bool]:
        return [await trash.empty(), await trash.empty()]

    assert asyncio.run(scenario()) == [False, False]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.message == "files cannot be removed"
