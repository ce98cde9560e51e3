"""Files that are replaced in one step."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_wire.atomic_files import write_atomically

# Prints the state of both files at each step that Python's audit events show.
STEPS = """
import os, stat, sys
from pathlib import Path
from nanoclaw_wire.atomic_files import write_atomically

path = Path(sys.argv[1])

def watch(event, arguments):
    if event in ("os.chmod", "os.rename"):
        status = os.stat(arguments[0])
        print(event, oct(stat.S_IMODE(status.st_mode)), status.st_size, path.read_text())

os.umask(0)
sys.addaudithook(watch)
write_atomically(path, b"new", mode=0o640, sync=False)
"""


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_write_atomically_sets_content_and_mode(tmp_path: Path, umask: None, mode: int) -> None:
    path = tmp_path / "a.json"
    for content in (b"old", b""):
        write_atomically(path, content, mode=mode, sync=False)
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, mode)
    assert names(tmp_path) == ["a.json"]


def test_write_atomically_never_gives_more_than_its_mode(tmp_path: Path) -> None:
    """The new file has the mode while it is still empty, and is complete when it replaces the old one."""
    (tmp_path / "a").write_text("old")
    script = [sys.executable, "-c", STEPS, tmp_path / "a"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["os.chmod 0o640 0 old", "os.rename 0o640 3 old"]


@pytest.mark.parametrize("target", ["a directory", "a full disk"])
def test_write_atomically_that_fails_leaves_only_the_old_file(tmp_path: Path, target: str) -> None:
    path = tmp_path / "a"
    if target == "a directory":
        path.mkdir()
        with pytest.raises(IsADirectoryError):
            write_atomically(path, b"new", mode=0o600, sync=True)
    else:
        path.write_text("old")
        script = (
            "import resource, signal, sys; from pathlib import Path\n"
            "from nanoclaw_wire.atomic_files import write_atomically\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
            "write_atomically(Path(sys.argv[1]), b'x' * 1000, mode=0o600, sync=True)\n"
        )
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
        assert "File too large" in done.stderr
        assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("sync", [True, False])
def test_write_atomically_syncs_file_then_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    path, synced = tmp_path / "a", []
    path.write_text("old")

    def record(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_directory, os.fstat(descriptor).st_size if not is_directory else 0, path.read_text()))

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(path, b"newer", mode=0o600, sync=sync)
    assert synced == ([(False, 5, "old"), (True, 0, "newer")] if sync else [])


def test_write_atomically_replaces_a_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "a").symlink_to("other")
    write_atomically(tmp_path / "a", b"new", mode=0o600, sync=False)
    assert (tmp_path / "other").read_text() == "other"
    assert ((tmp_path / "a").read_text(), (tmp_path / "a").is_symlink()) == ("new", False)


def test_write_atomically_keeps_the_owner(tmp_path: Path) -> None:
    owner = (12_345, 12_346) if os.getuid() == 0 else (os.getuid(), os.getgid())
    write_atomically(tmp_path / "a", b"new", mode=0o600, sync=False, owner=owner)
    status = (tmp_path / "a").stat()
    assert (status.st_uid, status.st_gid) == owner


@pytest.mark.skipif(os.getuid() != 0, reason="another user needs root")
def test_write_atomically_ignores_an_owner_that_it_may_not_set(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    script = (
        "import os; from pathlib import Path; from nanoclaw_wire.atomic_files import write_atomically\n"
        "os.setuid(65_534)\n"
        "write_atomically(Path('a'), b'new', mode=0o600, sync=True, owner=(0, 0))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert ((tmp_path / "a").read_text(), (tmp_path / "a").stat().st_uid) == ("new", 65_534)
