"""Trees of a hostile sandbox are measured and removed within bounds."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_wire.untrusted_paths import open_directory
from nanoclaw_wire.untrusted_trees import ENTRY_BYTES, MAX_DEPTH, MAX_PASSES, Stopped, empty_directory, tree_size

DEEP = 1_100  # beyond Python's limit of recursion, and with long names beyond the system's limit of paths
LIMIT = 1_000_000


def make_nested(path: Path, depth: int, name: str = "nested") -> None:
    """Make directories below each other, with a file in the last one."""
    path.mkdir(exist_ok=True)
    folder = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=folder))
    os.close(folder)


@pytest.fixture(autouse=True)
def _leaves_no_tree(tmp_path: Path) -> Iterator[None]:
    """Remove the trees of a failed test, because pytest cannot remove a deep one."""
    yield
    empty_directory(tmp_path)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, used + 100), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_deep_tree_is_removed(tmp_path: Path) -> None:
    make_nested(tmp_path, DEEP)
    assert empty_directory(tmp_path) is None
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_text("mine")
    for place in (inside, inside / "sub"):
        (place / "folder-link").symlink_to(outside)
        (place / "file-link").symlink_to(outside / "file")
    assert empty_directory(inside) is None
    assert os.listdir(inside) == []
    assert sorted(os.listdir(outside)) == ["file", "folder"]


def test_pipes_sockets_and_odd_names_are_removed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xff\n")).mkdir()
    assert empty_directory(tmp_path) is None
    assert os.listdir(tmp_path) == []


def test_removal_stops_and_can_continue(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_nested(tmp_path / name, 5)
    calls = iter(range(7))
    with pytest.raises(Stopped):
        empty_directory(tmp_path, lambda: next(calls, None) is None)
    assert os.listdir(tmp_path) != []
    assert empty_directory(tmp_path) is None
    assert os.listdir(tmp_path) == []


def test_writer_that_adds_files_keeps_no_other_tree(tmp_path: Path) -> None:
    """A process of the sandbox keeps a directory open, and fills it while it is removed."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    first, calls = os.listdir(tmp_path)[0], 0
    with open_directory(tmp_path / first) as busy:

        def add_file() -> bool:
            nonlocal calls
            calls += 1
            with contextlib.suppress(FileNotFoundError):  # it is removed, so the writer cannot add anything
                os.close(os.open(f"file-{calls}", os.O_CREAT, dir_fd=busy))
            return calls > 20 * MAX_PASSES

        with contextlib.suppress(Stopped):
            empty_directory(tmp_path, add_file)
    assert os.listdir(tmp_path) in ([first], [])
    assert calls >= MAX_PASSES


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_directories_without_rights_are_removed() -> None:
    """Root needs no rights, so another user removes its own tree."""
    code = (
        "import os, sys; from pathlib import Path; from nanoclaw_wire.untrusted_trees import empty_directory\n"
        "os.setgid(12345); os.setuid(12345); os.chdir(sys.argv[1])\n"
        "Path('a/b/c').mkdir(parents=True); Path('a/b/file').touch(); Path('a/b/c/file').touch()\n"
        "[os.chmod(name, mode) for name, mode in [('a/b/c', 0), ('a/b', 0o500), ('a', 0)]]\n"
        "print(empty_directory(Path('.')), os.listdir('.'))"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # $TMPDIR may be closed to others
        Path(directory).chmod(0o777)
        command = [sys.executable, "-c", code, directory]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.strip() == "None []"


def test_size_counts_blocks_and_not_holes(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 * LIMIT)
    assert tree_size(tmp_path, LIMIT) == ENTRY_BYTES
    (tmp_path / "full").write_bytes(b"x" * 3 * ENTRY_BYTES)
    assert tree_size(tmp_path, LIMIT) == 4 * ENTRY_BYTES


@pytest.mark.usefixtures("few_descriptors")
def test_size_of_a_deep_tree_is_the_limit(tmp_path: Path) -> None:
    make_nested(tmp_path, MAX_DEPTH - 1)
    assert tree_size(tmp_path, LIMIT) < LIMIT
    make_nested(tmp_path, DEEP, "another")
    assert tree_size(tmp_path, LIMIT) == LIMIT


def test_size_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "full").write_bytes(b"x" * LIMIT)
    (tmp_path / "inside" / "link").symlink_to(tmp_path)
    assert tree_size(tmp_path / "inside", LIMIT) == ENTRY_BYTES
    assert tree_size(tmp_path / "inside" / "link", LIMIT) == LIMIT  # a link is no tree


def test_size_of_a_missing_tree_is_zero(tmp_path: Path) -> None:
    assert tree_size(tmp_path / "none", LIMIT) == 0


def test_size_leaves_no_descriptor_open(tmp_path: Path) -> None:
    make_nested(tmp_path, MAX_DEPTH + 5)
    before = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
    assert tree_size(tmp_path, LIMIT) == LIMIT
    assert (os.listdir("/proc/self/fd") if sys.platform == "linux" else []) == before
