"""The outbox reader on `outbound.db` and on an attacker's replacements (⚠29, I6)."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.outbound import AckStatus, Activity, NewOutbound, OutKind, RunnerState
from outbox_session import SESSION, Side, open_descriptors

from nanoclaw_core.mailbox.outbox import MAX_READ_CHARACTERS, ROW_BATCH, UNREADABLE, NeedsRecovery


def write(side: Side, *ids: str) -> None:
    db = session_files.open_writable(side.layout.outbound_db)
    outbound.write(db, now="x", messages=[NewOutbound(id=i, kind=OutKind.CHAT, at="x", content="{}") for i in ids])
    db.close()


def test_reader_returns_rows_after_a_number(side: Side) -> None:
    write(side, "a", "b")
    assert [message.id for message in side.outbox.read_new(SESSION, 1).messages] == ["b"]


@pytest.mark.parametrize(("activity", "finished"), [(Activity.IDLE, {"in-2"}), (Activity.BUSY, None)])
def test_reader_returns_finished_of_an_idle_runner(side: Side, activity: Activity, finished: set[str] | None) -> None:
    """Only an idle runner without further rows is idle for the host."""
    state = RunnerState(activity=activity, tool=None, tool_timeout_s=None, tool_started_at=None, updated_at="x")
    assert side.outbox.read_new(SESSION, 0).finished is None
    with contextlib.closing(session_files.open_writable(side.layout.outbound_db)) as db:
        outbound.write(db, now="x", acknowledge=[("in-1", AckStatus.COMPLETED)], now_state=state)
        outbound.write(db, now="x", acknowledge=[("in-2", AckStatus.FAILED)])
    assert side.outbox.read_new(SESSION, 0, 1).finished == finished
    write(side, *map(str, range(ROW_BATCH + 1)))
    assert side.outbox.read_new(SESSION, 0, 1).finished is None


def replace_with_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_with_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_with_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_with_garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


def replace_with_nothing(path: Path) -> None:
    path.unlink()


def replace_with_emptiness(path: Path) -> None:
    path.write_bytes(b"")


def replace_with_a_second_name(path: Path) -> None:
    os.link(path, path.with_name("second"))


def replace_journal_with_pipe(path: Path) -> None:
    journal = path.with_name(f"{path.name}-journal")
    journal.unlink(missing_ok=True)
    os.mkfifo(journal)


def replace_with_wal(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.close()


def replace_with_other_tables(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("DROP TABLE messages_out; CREATE TABLE messages_out (other); DROP TABLE runner_state")
    db.close()


def replace_with_a_view(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute(
        "DROP TABLE messages_out; CREATE VIEW messages_out AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1"
        " FROM n) SELECT i AS seq, i AS id, 'chat' AS kind, '' AS at, NULL AS deliver_after, NULL AS in_reply_to,"
        " NULL AS channel, NULL AS room, NULL AS thread, '{}' AS content FROM n"
    )
    db.close()


REPLACEMENTS = [
    replace_with_link,
    replace_with_pipe,
    replace_with_directory,
    replace_with_garbage,
    replace_with_nothing,
    replace_with_emptiness,
    replace_with_a_second_name,
    replace_journal_with_pipe,
    replace_with_wal,
    replace_with_other_tables,
    replace_with_a_view,
]


@pytest.mark.defect(number=29)
@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_replaced_outbound_db_is_refused_each_time(side: Side, replace: Callable[[Path], None]) -> None:
    write(side, "a")
    replace(side.layout.outbound_db)
    before = open_descriptors()
    for _ in range(2):
        with pytest.raises(UNREADABLE):
            side.outbox.read_new(SESSION, 0)
    assert open_descriptors() == before


@pytest.mark.defect(number=29)
@pytest.mark.parametrize("replace", [replace_with_garbage, replace_journal_with_pipe, replace_with_other_tables])
def test_outbound_db_replaced_while_open_is_refused(side: Side, replace: Callable[[Path], None]) -> None:
    write(side, "a")
    assert len(side.outbox.read_new(SESSION, 0).messages) == 1
    replace(side.layout.outbound_db)
    with pytest.raises(UNREADABLE):
        side.outbox.read_new(SESSION, 0)


def test_restored_outbound_db_is_read_again(side: Side) -> None:
    write(side, "a")
    good = side.layout.outbound_db.read_bytes()
    replace_with_garbage(side.layout.outbound_db)
    with pytest.raises(UNREADABLE):
        side.outbox.read_new(SESSION, 0)
    side.layout.outbound_db.write_bytes(good)
    assert len(side.outbox.read_new(SESSION, 0).messages) == 1


def test_locked_outbound_db_is_busy_not_broken(side: Side) -> None:
    writer = session_files.open_writable(side.layout.outbound_db)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(apsw.BusyError):
        side.outbox.read_new(SESSION, 0)
    writer.execute("ROLLBACK")
    writer.close()
    assert side.outbox.read_new(SESSION, 0).messages == []


def test_outbound_db_with_a_hot_journal_needs_its_runner(side: Side) -> None:
    replace_journal_with_pipe(side.layout.outbound_db)
    with pytest.raises(NeedsRecovery):
        side.outbox.read_new(SESSION, 0)


def test_huge_row_does_not_fill_the_hosts_memory(side: Side) -> None:
    db = session_files.open_writable(side.layout.outbound_db)
    db.execute(
        "INSERT INTO messages_out (seq, id, kind, at, content)"
        " VALUES (1, 'a', 'chat', 'x', printf('%.*c', 50000000, 'x'))"
    )
    db.close()
    with pytest.raises(apsw.TooBigError):
        side.outbox.read_new(SESSION, 0)


def test_large_rows_are_read_in_portions(side: Side) -> None:
    db = session_files.open_writable(side.layout.outbound_db)
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM n LIMIT 6)"
        " INSERT INTO messages_out (seq, id, kind, at, content)"
        " SELECT i, i, 'chat', 'x', printf('%.*c', 500000, 'x') FROM n"
    )
    db.close()
    first = side.outbox.read_new(SESSION, 0)
    assert len(first.messages) * 500_000 <= MAX_READ_CHARACTERS + 500_000
    assert first.has_more
    rest = side.outbox.read_new(SESSION, first.messages[-1].seq)
    assert [message.seq for message in [*first.messages, *rest.messages]] == list(range(1, 12, 2))
