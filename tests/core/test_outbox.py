"""The outbox reader: files, heartbeat and directories, also of an attacker (⚠29, I6)."""

import os
import resource
import socket
import time

import pytest
from nanoclaw_wire.socket_path import short_path
from outbox_session import LIMIT, SESSION, Side, open_descriptors

from nanoclaw_core import InvalidArguments
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import MAX_FILES

# Files


def test_outbox_file_is_read_and_cleared(side: Side) -> None:
    side.put("a.txt", b"hello")
    assert side.read("a.txt") == [("a.txt", b"hello")]
    side.outbox.clear(SESSION, "out-1")
    assert os.listdir(side.layout.outbox) == []


@pytest.mark.parametrize(
    "name", ["../secret", "../../../secret", "/etc/passwd", "..", ".", "", "a/b", "a\0b", 7, None, ["a"]]
)
def test_outbox_name_that_leads_elsewhere_is_refused(side: Side, name: object) -> None:
    side.put("a.txt")
    (side.layout.outbox / "secret").write_text("secret")
    assert "not a safe file name" in side.refused(name)


def test_outbox_link_to_the_outside_is_refused(side: Side) -> None:
    (side.home / "secret").write_text("secret")
    side.put("a.txt")
    (side.layout.outbox / "out-1" / "link").symlink_to(side.home / "secret")
    assert "cannot be opened" in side.refused("link")


@pytest.mark.parametrize("message_id", ["../..", "..", ".", "", "a/b", "/tmp"])
def test_clear_with_an_unsafe_id_deletes_nothing(side: Side, message_id: str) -> None:
    side.put("a.txt")
    side.outbox.clear(SESSION, message_id)
    assert side.read("a.txt")
    assert side.layout.outbound_db.exists()
    assert "safe folder" in side.refused("a.txt", message_id=message_id)


@pytest.mark.defect(number=29)
def test_link_instead_of_outbox_is_not_followed(side: Side) -> None:
    outside = side.home / "outside" / "out-1"
    outside.mkdir(parents=True)
    (outside / "a.txt").write_text("secret")
    side.layout.outbox.rmdir()
    side.layout.outbox.symlink_to(side.home / "outside")
    assert "cannot be opened" in side.refused("a.txt")
    side.outbox.clear(SESSION, "out-1")
    assert (outside / "a.txt").exists()


@pytest.mark.defect(number=29)
def test_link_instead_of_outbox_folder_is_not_followed(side: Side) -> None:
    outside = side.home / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    (side.layout.outbox / "out-1").symlink_to(outside)
    assert "cannot be opened" in side.refused("a.txt")
    side.outbox.clear(SESSION, "out-1")
    assert (outside / "a.txt").exists()


@pytest.mark.defect(number=29)
def test_outbox_file_with_a_second_name_is_refused(side: Side) -> None:
    (side.home / "secret").write_text("secret")
    side.put("a.txt")
    os.link(side.home / "secret", side.layout.outbox / "out-1" / "second")
    assert "not a regular file" in side.refused("second")


@pytest.mark.defect(number=29)
def test_outbox_special_files_are_refused_without_waiting(side: Side) -> None:
    folder = side.put("a.txt").parent
    os.mkfifo(folder / "pipe")
    (folder / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        with short_path(folder / "socket") as path:
            listening.bind(path)
        before = open_descriptors()
        for name in ("pipe", "directory", "socket"):
            side.refused(name)
    assert open_descriptors() <= before


@pytest.mark.defect(number=29)
def test_outbox_device_is_refused(side: Side) -> None:
    folder = side.put("a.txt").parent
    (folder / "zero").symlink_to("/dev/zero")
    assert "cannot be opened" in side.refused("zero")


def test_outbox_files_beyond_the_total_size_are_refused(side: Side) -> None:
    side.put("half", b"x" * (LIMIT // 2))
    side.put("rest", b"x" * (LIMIT - LIMIT // 2))
    side.put("more", b"x")
    assert len(side.read("half", "rest")) == 2
    assert "'more' makes the message larger than" in side.refused("half", "rest", "more")


def test_huge_outbox_file_is_not_read(side: Side) -> None:
    with side.put("huge").open("wb") as file:
        file.truncate(10**12)
    assert "larger than" in side.refused("huge")


def test_too_many_outbox_files_are_refused(side: Side) -> None:
    side.put("a.txt")
    assert f"at most {MAX_FILES}" in side.refused(*["a.txt"] * (MAX_FILES + 1))


def test_missing_outbox_file_or_folder_is_named(side: Side) -> None:
    assert "outbox/out-1" in side.refused("a.txt")
    side.put("a.txt")
    assert "'b.txt' cannot be opened" in side.refused("b.txt")


@pytest.mark.invariant(number=4)
def test_file_without_a_free_descriptor_is_not_refused(side: Side) -> None:
    """A host without free descriptors must not refuse the file, because a refusal gives the message up."""
    side.put("report.txt")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            side.read("report.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert side.read("report.txt") == [("report.txt", b"hello")]


def test_message_without_files_needs_no_folder(side: Side) -> None:
    assert side.read() == []


def test_folder_with_a_folder_is_cleared(side: Side) -> None:
    (side.put("a.txt").parent / "inner").mkdir()
    side.outbox.clear(SESSION, "out-1")
    assert os.listdir(side.layout.outbox) == []


def test_refusals_leave_no_descriptor_open(side: Side) -> None:
    folder = side.put("a.txt").parent
    (folder / "directory").mkdir()
    before = open_descriptors()
    for _ in range(20):
        side.refused("a.txt", "directory")
        side.refused("nowhere")
    assert open_descriptors() == before


# Heartbeats and directories


def test_heartbeat_is_the_time_of_its_file(side: Side) -> None:
    assert side.outbox.heartbeat_at(SESSION) is None
    side.layout.heartbeat.touch()
    os.utime(side.layout.heartbeat, (1_770_000_000, 1_770_000_000))
    assert side.outbox.heartbeat_at(SESSION) == 1_770_000_000


@pytest.mark.parametrize("at", [2**33, 2**40])
def test_heartbeat_in_the_far_future_is_none(side: Side, at: int) -> None:
    side.layout.heartbeat.touch()
    os.utime(side.layout.heartbeat, (at, at))
    assert side.outbox.heartbeat_at(SESSION) is None


def test_heartbeat_slightly_in_the_future_is_now(side: Side) -> None:
    side.layout.heartbeat.touch()
    os.utime(side.layout.heartbeat, (time.time() + 9, time.time() + 9))
    heartbeat_at = side.outbox.heartbeat_at(SESSION)
    assert heartbeat_at is not None
    assert heartbeat_at <= time.time()


def test_heartbeat_that_is_a_link_is_none(side: Side) -> None:
    side.layout.heartbeat.symlink_to("/etc/passwd")
    assert side.outbox.heartbeat_at(SESSION) is None


@pytest.mark.parametrize("session_id", ["..", "", "a/b", "../../etc"])
def test_session_id_that_leads_elsewhere_is_refused(side: Side, session_id: str) -> None:
    with pytest.raises(InvalidArguments):
        side.outbox.read_new(SessionId(session_id), 0)


def test_new_session_has_its_directories_and_files(side: Side) -> None:
    assert side.layout.outbox.is_dir()
    assert side.layout.inbox.is_dir()
    assert side.layout.inbound_db.is_file()
    assert side.layout.outbound_db.is_file()


def test_sessions_are_private_to_their_owner(side: Side) -> None:
    assert (side.home / "sessions").stat().st_mode & 0o077 == 0
