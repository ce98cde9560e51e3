"""What the host reads is swapped while it reads: nothing from outside comes in, nothing outside is touched (I6)."""

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from attrs import frozen
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.careful_files import has_only_this_name
from nanoclaw_wire.layout import Layout
from nanoclaw_wire.outbound import NewOutbound, OutKind

from nanoclaw_core.delivery.outbox_poller import UNREADABLE
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import OutboxReader, OutboxRefused

SESSION = SessionId("ses-1")
ROUNDS = 3_000
SECRET = b"the host's own secret"


@frozen
class Ground:
    """One session, and what lies outside of it."""

    outboxes: OutboxReader
    layout: Layout
    outside: Path


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    directories = open_root(tmp_path / "home")
    layout = directories.create(SESSION)
    outside = tmp_path / "outside"
    (outside / "out-1").mkdir(parents=True)
    for path in (outside / "a.txt", outside / "out-1" / "a.txt"):
        path.write_bytes(SECRET)
    other = directories.create(SessionId("ses-2"))
    shutil.copy(other.outbound_db, outside / "other.db")
    db = session_files.open_writable(outside / "other.db")
    outbound.write(db, now="x", messages=[NewOutbound(id="secret", kind=OutKind.CHAT, at="x", content="{}")])
    db.close()
    outboxes = OutboxReader(directories, file_bytes=1_000)
    yield Ground(outboxes, layout, outside)
    outboxes.close()


def what_is(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


@contextlib.contextmanager
def meanwhile(swap: Callable[[random.Random], None]) -> Iterator[None]:
    """Let a thread swap things as fast as it can."""
    over = threading.Event()

    def work() -> None:
        dice = random.Random(0)
        while not over.is_set():
            with contextlib.suppress(OSError):
                swap(dice)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def become(path: Path, outside: Path, honest: bytes) -> list[Callable[[], object]]:
    """Return what can be put in the place of a file; a second name of the one outside is gone at once, and again."""
    return [
        lambda: path.write_bytes(honest),
        lambda: (os.link(outside, path), path.unlink()),
        lambda: path.symlink_to(outside),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to(path),
    ]


def test_warning_29_a_file_that_is_swapped_while_it_is_read_never_brings_what_is_outside(ground: Ground) -> None:
    folder = ground.layout.outbox / "out-1"
    folder.mkdir()
    path = folder / "a.txt"
    kinds = become(path, ground.outside / "a.txt", b"mine")
    before, descriptors = what_is(ground.outside), len(os.listdir("/proc/self/fd"))
    seen: set[bytes] = set()

    def swap(dice: random.Random) -> None:
        remove(path)
        dice.choice(kinds)()

    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(OutboxRefused):
                seen |= {file.content for file in ground.outboxes.files(SESSION, "out-1", ["a.txt"])}
    assert seen <= {b"mine", b""}
    assert what_is(ground.outside) == before
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.fixture
def opened_by_a_second_name(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, int, Path]]]:
    """Open a file outside by a second name in a folder, as a host does that was told to send it."""
    with contextlib.ExitStack() as stack:

        def open_it(name: str) -> tuple[int, int, Path]:
            (tmp_path / "folder").mkdir()
            (tmp_path / "outside").write_bytes(SECRET)
            path = tmp_path / "folder" / name
            os.link(tmp_path / "outside", path)
            folder, descriptor = os.open(path.parent, os.O_RDONLY), os.open(path, os.O_RDONLY)
            stack.callback(os.close, folder)
            stack.callback(os.close, descriptor)
            return descriptor, folder, path

        yield open_it


def test_warning_29_a_plain_file_has_only_the_name_it_was_opened_by(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    folder = os.open(tmp_path, os.O_RDONLY)
    with (tmp_path / "a.txt").open() as file:
        assert has_only_this_name(file.fileno(), folder, "a.txt")
    os.close(folder)


CRIMES: dict[str, Callable[[Path], object]] = {
    "nothing more": lambda _path: None,
    "removed": lambda path: path.unlink(),
    "removed, and another file in its place": lambda path: (path.unlink(), path.write_bytes(b"mine")),
    "moved away": lambda path: path.rename(path.parent.parent / "elsewhere"),
    "moved away and removed": lambda path: path.rename(path.parent.parent / "elsewhere").unlink(),
    "removed with its folder": lambda path: (path.unlink(), path.parent.rmdir()),
}


@pytest.mark.parametrize("name", ["a.txt", "a.txt (deleted)"])
@pytest.mark.parametrize("crime", CRIMES.values(), ids=list(CRIMES))
def test_warning_29_a_second_name_is_seen_whatever_became_of_it_since_it_was_opened(
    opened_by_a_second_name: Callable[[str], tuple[int, int, Path]], name: str, crime: Callable[[Path], object]
) -> None:
    descriptor, folder, path = opened_by_a_second_name(name)
    crime(path)
    assert not has_only_this_name(descriptor, folder, name)


def test_warning_29_a_name_that_looks_like_a_removed_one_is_no_way_around(
    opened_by_a_second_name: Callable[[str], tuple[int, int, Path]],
) -> None:
    descriptor, folder, path = opened_by_a_second_name("a.txt (deleted)")
    path.rename(path.with_name("a.txt")).unlink()
    assert Path(f"/proc/self/fd/{descriptor}").readlink() == path
    assert not has_only_this_name(descriptor, folder, "a.txt (deleted)")


@pytest.mark.parametrize("place", ["outbox", "outbox/out-1"])
def test_warning_29_a_directory_that_is_swapped_leads_nowhere_for_reading_and_for_clearing(
    ground: Ground, place: str
) -> None:
    path = ground.layout.outgoing / place
    before = what_is(ground.outside)
    target = ground.outside if place == "outbox" else ground.outside / "out-1"
    seen: set[bytes] = set()

    def swap(dice: random.Random) -> None:
        remove(path)
        if dice.random() < 0.5:
            path.symlink_to(target)
        else:
            (ground.layout.outbox / "out-1").mkdir(parents=True, exist_ok=True)
            (ground.layout.outbox / "out-1" / "a.txt").write_bytes(b"mine")

    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(OutboxRefused):
                seen |= {file.content for file in ground.outboxes.files(SESSION, "out-1", ["a.txt"])}
            ground.outboxes.clear(SESSION, "out-1")
    assert seen <= {b"mine", b""}
    assert what_is(ground.outside) == before


def test_warning_29_a_database_that_is_swapped_never_brings_another_ones_rows(ground: Ground) -> None:
    path = ground.layout.outbound_db
    honest = path.read_bytes()
    kinds = become(path, ground.outside / "other.db", honest)
    before = what_is(ground.outside)

    def swap(dice: random.Random) -> None:
        remove(path)
        dice.choice(kinds)()

    ids: set[str] = set()
    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(*UNREADABLE):
                ids |= {message.id for message in ground.outboxes.news(SESSION, 0).messages}
            ground.outboxes.release(SESSION)
            ground.outboxes.heartbeat_at(SESSION)
    assert ids == set()
    assert what_is(ground.outside) == before


def test_warning_29_a_journal_that_is_swapped_is_never_played_back(ground: Ground) -> None:
    """The host opens read-only, so a journal that names another file cannot make it delete that."""
    journal = ground.layout.outbound_db.with_name("outbound.db-journal")
    hot = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0\0\0\1" + b"\0" * 500 + str(ground.outside / "a.txt").encode()
    kinds = become(journal, ground.outside / "a.txt", hot)
    before, database = what_is(ground.outside), ground.layout.outbound_db.read_bytes()

    def swap(dice: random.Random) -> None:
        remove(journal)
        dice.choice(kinds)()

    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(*UNREADABLE):
                ground.outboxes.news(SESSION, 0)
            ground.outboxes.release(SESSION)
    assert what_is(ground.outside) == before
    assert ground.layout.outbound_db.read_bytes() == database


def test_warning_29_a_file_that_is_cut_and_grown_while_it_is_read_is_an_error_and_no_crash(ground: Ground) -> None:
    db = session_files.open_writable(ground.layout.outbound_db)
    rows = [NewOutbound(id=f"m{n}", kind=OutKind.CHAT, at="x", content="x" * 3_000) for n in range(200)]
    outbound.write(db, now="x", messages=rows)
    db.close()
    whole = ground.layout.outbound_db.read_bytes()

    def swap(dice: random.Random) -> None:
        with ground.layout.outbound_db.open("r+b") as file:
            file.truncate(dice.randrange(len(whole)))
            file.seek(0)
            file.write(whole)

    with meanwhile(swap):
        for _ in range(ROUNDS // 5):
            with contextlib.suppress(*UNREADABLE):
                assert len(ground.outboxes.news(SESSION, 0).messages) <= 200
    assert apsw.Connection(str(ground.layout.outbound_db)).execute("SELECT count(*) FROM messages_out").get == 200
