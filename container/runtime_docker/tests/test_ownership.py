"""Where the host runs as root, the sandbox's user can write what it is given (⚠35), and nothing else changes hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nanoclaw_runtime_docker.ownership import hand_over

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def owner(path: Path) -> int:
    return path.lstat().st_uid


def test_warning_35_a_directory_and_what_the_host_made_in_it_change_hands(tmp_path: Path) -> None:
    given = tmp_path / "out"
    (given / "state").mkdir(parents=True)
    (given / "state" / "outbound.db").write_text("")
    hand_over([given], 1000, 1000)
    assert [owner(given), owner(given / "state"), owner(given / "state" / "outbound.db")] == [1000] * 3
    assert owner(tmp_path) == 0


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    given, outside = tmp_path / "out", tmp_path / "outside"
    given.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("")
    (given / "directory").symlink_to(outside)
    (given / "file").symlink_to(outside / "secret")
    hand_over([given], 1000, 1000)
    assert [owner(outside), owner(outside / "secret")] == [0, 0]


def test_a_mount_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").symlink_to(outside)
    hand_over([tmp_path / "out"], 1000, 1000)
    assert owner(outside) == 0


def test_a_file_with_a_second_name_and_the_file_of_another_user_keep_their_owner(tmp_path: Path) -> None:
    given = tmp_path / "out"
    given.mkdir()
    (tmp_path / "elsewhere").write_text("")
    os.link(tmp_path / "elsewhere", given / "second-name")
    (given / "theirs").write_text("")
    os.chown(given / "theirs", 4321, 4321)
    hand_over([given], 1000, 1000)
    assert [owner(given / "second-name"), owner(given / "theirs")] == [0, 4321]
