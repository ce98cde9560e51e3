"""Files that another user of the machine could change or replace."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from nanoclaw_untrusted.private_paths import exposure_of

OTHER_USER = 12_345
AS_OTHER_USER = """
import os, sys
from pathlib import Path
from nanoclaw_untrusted.private_paths import exposure_of
os.setuid(12_345)
print(exposure_of(Path(sys.argv[1])))
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir(mode=0o755)
    return tmp_path / "folder"


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o555, 0o1755])
def test_directory_that_others_may_read_is_not_exposed(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert exposure_of(folder) is None


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_directory_that_others_may_write_is_exposed(folder: Path, mode: int) -> None:
    """The sticky bit does not help: others could still create a missing file."""
    folder.chmod(mode)
    exposure = exposure_of(folder, accounts=folder)  # no group is known
    assert exposure is not None
    assert exposure.fault == f"{folder} may be written by other users than its owner"
    assert f"`chmod go-w {folder}`" in exposure.remedy


def test_file_below_a_writable_directory_is_exposed(folder: Path) -> None:
    (folder / "file").touch(mode=0o600)
    folder.chmod(0o777)
    exposure = exposure_of(folder / "file")
    assert exposure is not None
    assert exposure.fault.startswith(f"{folder} may")


def test_file_below_a_sticky_directory_is_not_exposed(folder: Path) -> None:
    """Others cannot remove or rename foreign entries of `/tmp`."""
    (folder / "file").touch(mode=0o600)
    folder.chmod(0o1777)
    assert exposure_of(folder / "file") is None


def test_missing_file_is_exposed_with_its_directory(folder: Path) -> None:
    assert exposure_of(folder / "missing" / "file") is None
    folder.chmod(0o777)
    assert exposure_of(folder / "missing" / "file") is not None


def test_link_below_a_writable_directory_is_exposed(folder: Path, tmp_path: Path) -> None:
    """A second link on the way counts, too, because it could be replaced."""
    (tmp_path / "target").mkdir(mode=0o700)
    (folder / "second").symlink_to(tmp_path / "target")
    (tmp_path / "first").symlink_to("folder/../folder/second")
    assert exposure_of(tmp_path / "first") is None
    folder.chmod(0o777)
    exposure = exposure_of(tmp_path / "first")
    assert exposure is not None
    assert exposure.fault.startswith(f"{folder} may")


def test_target_of_a_link_is_examined(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    folder.chmod(0o702)
    assert exposure_of(tmp_path / "link") is not None


def test_relative_path_is_examined_from_the_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert exposure_of(Path("x")) is None
    folder.chmod(0o777)
    assert exposure_of(Path("x")) is not None


def test_cycle_of_links_raises(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links"):
        exposure_of(tmp_path / "one")


def test_remedy_quotes_the_path(tmp_path: Path) -> None:
    strange = tmp_path / "a b; c"
    strange.mkdir()
    strange.chmod(0o777)
    exposure = exposure_of(strange)
    assert exposure is not None
    subprocess.run(shlex.split(exposure.remedy.split("`")[1]), check=True)
    assert exposure_of(strange) is None


@as_root
def test_directory_of_another_user_is_exposed(folder: Path) -> None:
    os.chown(folder, OTHER_USER, -1)
    exposure = exposure_of(folder / "file")
    assert exposure is not None
    assert exposure.fault == f"{folder} belongs to user {OTHER_USER}, not to the host's user 0 or to root"
    assert f"`chown -h 0 {folder}`" in exposure.remedy


@as_root
def test_link_of_another_user_is_exposed(folder: Path, tmp_path: Path) -> None:
    """Its owner may replace it in a directory with the sticky bit."""
    (tmp_path / "link").symlink_to(folder)
    os.chown(tmp_path / "link", OTHER_USER, -1, follow_symlinks=False)
    exposure = exposure_of(tmp_path / "link")
    assert exposure is not None
    subprocess.run(shlex.split(exposure.remedy.split("`")[1]), check=True)
    assert exposure_of(tmp_path / "link") is None


@as_root
@pytest.mark.parametrize(("owner", "is_exposed"), [(0, False), (OTHER_USER, False), (OTHER_USER + 1, True)])
def test_ordinary_user_trusts_itself_and_root(folder: Path, owner: int, is_exposed: bool) -> None:
    os.chown(folder, owner, -1)
    for parent in (folder.parent, folder.parent.parent, folder.parent.parent.parent):
        parent.chmod(0o711)  # pytest closes its directories
    done = subprocess.run(
        [sys.executable, "-c", AS_OTHER_USER, folder], capture_output=True, text=True, check=True, cwd="/"
    )
    assert ("sudo chown -h 12345" in done.stdout) is is_exposed
    assert (done.stdout == "None\n") is not is_exposed
