"""Files that a sandbox swaps while the host reads them.

The host reads and changes nothing outside (I6).
"""

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
from nanoclaw_untrusted.files import InvalidFile
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.layout import Layout
from nanoclaw_wire.outbound import NewOutbound, OutKind
from nanoclaw_wire.untrusted_paths import is_single_link

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import UNREADABLE, OutboxReader

SESSION = SessionId("ses-1")
ROUNDS = 3_000
SECRET = b"the host's own secret"
pytestmark = pytest.mark.defect(number=29)


@frozen
class Target:
    """A session, and the files outside of it."""

    outbox: OutboxReader
    layout: Layout
    outside: Path


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
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
    outbox = OutboxReader(directories, file_bytes=1_000)
    yield Target(outbox, layout, outside)
    outbox.close()


def snapshot(directory: Path) -> dict[str, bytes]:
    """Return the content of each file below a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@contextlib.contextmanager
def meanwhile(swap: Callable[[random.Random], None]) -> Iterator[None]:
    """Run `swap` in a thread as often as possible."""
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


def replacements(path: Path, outside: Path, honest: bytes) -> list[Callable[[], object]]:
    """Return functions that put something in a file's place, among them a short-lived second name of `outside`."""
    return [
        lambda: path.write_bytes(honest),
        lambda: (os.link(outside, path), path.unlink()),
        lambda: path.symlink_to(outside),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to(path),
    ]


def test_swapped_file_never_exposes_outside_content(target: Target) -> None:
    folder = target.layout.outbox / "out-1"
    folder.mkdir()
    path = folder / "a.txt"
    kinds = replacements(path, target.outside / "a.txt", b"mine")
    before, descriptors = snapshot(target.outside), len(os.listdir("/proc/self/fd"))
    contents: set[bytes] = set()

    def swap(dice: random.Random) -> None:
        remove(path)
        dice.choice(kinds)()

    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(InvalidFile):
                contents |= {file.content for file in target.outbox.files(SESSION, "out-1", ["a.txt"])}
    assert contents <= {b"mine", b""}
    assert snapshot(target.outside) == before
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.fixture
def opened_by_a_second_name(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, int, Path]]]:
    """Return a function that opens an outside file by a second name in a folder, as a deceived host would."""
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


def test_regular_file_has_only_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    folder = os.open(tmp_path, os.O_RDONLY)
    with (tmp_path / "a.txt").open() as file:
        assert is_single_link(file.fileno(), folder, "a.txt")
    os.close(folder)


ATTACKS: dict[str, Callable[[Path], object]] = {
    "nothing more": lambda _path: None,
    "removed": lambda path: path.unlink(),
    "removed, and another file in its place": lambda path: (path.unlink(), path.write_bytes(b"mine")),
    "moved away": lambda path: path.rename(path.parent.parent / "elsewhere"),
    "moved away and removed": lambda path: path.rename(path.parent.parent / "elsewhere").unlink(),
    "removed with its folder": lambda path: (path.unlink(), path.parent.rmdir()),
}


@pytest.mark.parametrize("name", ["a.txt", "a.txt (deleted)"])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_second_name_is_detected_after_any_attack(
    opened_by_a_second_name: Callable[[str], tuple[int, int, Path]], name: str, attack: Callable[[Path], object]
) -> None:
    descriptor, folder, path = opened_by_a_second_name(name)
    attack(path)
    assert not is_single_link(descriptor, folder, name)


def test_name_that_looks_deleted_is_detected(
    opened_by_a_second_name: Callable[[str], tuple[int, int, Path]],
) -> None:
    """/proc/self/fd marks a deleted file by the suffix " (deleted)", which a file name may also have."""
    descriptor, folder, path = opened_by_a_second_name("a.txt (deleted)")
    path.rename(path.with_name("a.txt")).unlink()
    assert Path(f"/proc/self/fd/{descriptor}").readlink() == path
    assert not is_single_link(descriptor, folder, "a.txt (deleted)")


@pytest.mark.parametrize("place", ["outbox", "outbox/out-1"])
def test_swapped_directory_leads_nowhere(target: Target, place: str) -> None:
    path = target.layout.outgoing / place
    before = snapshot(target.outside)
    outside = target.outside if place == "outbox" else target.outside / "out-1"
    contents: set[bytes] = set()

    def swap(dice: random.Random) -> None:
        remove(path)
        if dice.random() < 0.5:
            path.symlink_to(outside)
        else:
            (target.layout.outbox / "out-1").mkdir(parents=True, exist_ok=True)
            (target.layout.outbox / "out-1" / "a.txt").write_bytes(b"mine")

    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(InvalidFile):
                contents |= {file.content for file in target.outbox.files(SESSION, "out-1", ["a.txt"])}
            target.outbox.clear(SESSION, "out-1")
    assert contents <= {b"mine", b""}
    assert snapshot(target.outside) == before


def test_swapped_database_never_exposes_other_rows(target: Target) -> None:
    path = target.layout.outbound_db
    honest = path.read_bytes()
    kinds = replacements(path, target.outside / "other.db", honest)
    before = snapshot(target.outside)

    def swap(dice: random.Random) -> None:
        remove(path)
        dice.choice(kinds)()

    ids: set[str] = set()
    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(*UNREADABLE):
                ids |= {message.id for message in target.outbox.read_new(SESSION, 0).messages}
            target.outbox.release(SESSION)
            target.outbox.heartbeat_at(SESSION)
    assert ids == set()
    assert snapshot(target.outside) == before


def test_swapped_journal_is_never_replayed(target: Target) -> None:
    """The host opens the database read-only, so a journal that names another file cannot delete that file."""
    journal = target.layout.outbound_db.with_name("outbound.db-journal")
    hot = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0\0\0\1" + b"\0" * 500 + str(target.outside / "a.txt").encode()
    kinds = replacements(journal, target.outside / "a.txt", hot)
    before, database = snapshot(target.outside), target.layout.outbound_db.read_bytes()

    def swap(dice: random.Random) -> None:
        remove(journal)
        dice.choice(kinds)()

    with meanwhile(swap):
        for _ in range(ROUNDS):
            with contextlib.suppress(*UNREADABLE):
                target.outbox.read_new(SESSION, 0)
            target.outbox.release(SESSION)
    assert snapshot(target.outside) == before
    assert target.layout.outbound_db.read_bytes() == database


def test_truncated_and_grown_file_does_not_crash_the_reader(target: Target) -> None:
    db = session_files.open_writable(target.layout.outbound_db)
    rows = [NewOutbound(id=f"m{n}", kind=OutKind.CHAT, at="x", content="x" * 3_000) for n in range(200)]
    outbound.write(db, now="x", messages=rows)
    db.close()
    whole = target.layout.outbound_db.read_bytes()

    def swap(dice: random.Random) -> None:
        with target.layout.outbound_db.open("r+b") as file:
            file.truncate(dice.randrange(len(whole)))
            file.seek(0)
            file.write(whole)

    with meanwhile(swap):
        for _ in range(ROUNDS // 5):
            with contextlib.suppress(*UNREADABLE):
                assert len(target.outbox.read_new(SESSION, 0).messages) <= 200
    assert apsw.Connection(str(target.layout.outbound_db)).execute("SELECT count(*) FROM messages_out").get == 200
