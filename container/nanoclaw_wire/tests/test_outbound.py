"""Rows from the runner to the host, outbound.db."""

import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.outbound import AckStatus, Activity, RunnerState
from session_rows import AT, outgoing

WRITER = """
import sys
from pathlib import Path
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.outbound import NewOutbound, OutKind
db = session_files.open_writable(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    row = NewOutbound(id=f"{sys.argv[2]}-{number}", kind=OutKind.CHAT, at="x", content="{}")
    outbound.write(db, now="x", messages=[row])
db.close()
"""


@pytest.mark.invariant(number=2)
def test_write_numbers_are_odd_and_above_both_files(outbound_db: apsw.Connection) -> None:
    assert outbound.write(outbound_db, now=AT, messages=[outgoing("a"), outgoing("b")]) == [1, 3]
    assert outbound.write(outbound_db, now=AT, messages=[outgoing("c")], highest_inbound=8) == [9]


@pytest.mark.defect(number=36)
def test_write_of_two_processes_has_unique_numbers(tmp_path: Path) -> None:
    path = tmp_path / "outbound.db"
    session_files.create_outbound(path)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, "100"],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n", "ready\n"]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    db = session_files.open_readable(path)
    messages = outbound.messages_after(db, 0, limit=1000)
    db.close()
    assert [message.seq for message in messages] == list(range(1, 400, 2))
    assert len({message.id for message in messages}) == 200


def test_messages_after_respects_number_and_limit(outbound_db: apsw.Connection) -> None:
    outbound.write(outbound_db, now=AT, messages=[outgoing(name) for name in "abcd"])
    assert [message.id for message in outbound.messages_after(outbound_db, 1, limit=2)] == ["b", "c"]


def test_write_is_atomic(outbound_db: apsw.Connection) -> None:
    """Messages and acknowledgements are one transaction."""
    outbound.write(outbound_db, now=AT, messages=[outgoing("a")])
    with pytest.raises(apsw.ConstraintError):
        outbound.write(
            outbound_db,
            now=AT,
            messages=[outgoing("b"), outgoing("a")],
            acknowledge=[("m", AckStatus.COMPLETED)],
        )
    assert [message.id for message in outbound.messages_after(outbound_db, 0, limit=9)] == ["a"]
    assert outbound.acknowledgements_after(outbound_db, 0, limit=9) == []


def test_write_that_fails_leaves_no_lock(outbound_db: apsw.Connection) -> None:
    outbound.write(outbound_db, now=AT, messages=[outgoing("a")])
    with pytest.raises(apsw.ConstraintError):
        outbound.write(outbound_db, now=AT, messages=[outgoing("a")])
    assert outbound.write(outbound_db, now=AT, messages=[outgoing("b")]) == [3]


def test_acknowledgements_after_returns_every_change(outbound_db: apsw.Connection) -> None:
    outbound.write(outbound_db, now=AT, acknowledge=[("a", AckStatus.PROCESSING), ("b", AckStatus.PROCESSING)])
    mark = outbound.acknowledgements_after(outbound_db, 0, limit=9)[-1].revision
    outbound.write(outbound_db, now=AT, acknowledge=[("a", AckStatus.COMPLETED)])
    changes = outbound.acknowledgements_after(outbound_db, mark, limit=9)
    assert [(change.message_id, change.status) for change in changes] == [("a", AckStatus.COMPLETED)]
    assert [claim.message_id for claim in outbound.claims(outbound_db)] == ["b"]


def test_settled_after_returns_the_latest_final_ids(outbound_db: apsw.Connection) -> None:
    """An id that is longer than any of the host's is not read, because a sandbox can fill the memory with such ids."""
    outbound.write(outbound_db, now=AT, acknowledge=[("old", AckStatus.COMPLETED)])
    mark = outbound.acknowledgements_after(outbound_db, 0, limit=9)[-1].revision
    changes = [("a", AckStatus.COMPLETED), ("b", AckStatus.FAILED), ("c", AckStatus.PROCESSING)]
    outbound.write(outbound_db, now=AT, acknowledge=[*changes, ("d" * 1_000, AckStatus.COMPLETED)])
    assert outbound.settled_after(outbound_db, mark) == {"a", "b"}
    assert outbound.settled_after(outbound_db, mark, limit=1) == {"b"}


def test_acquire_releases_claims_only(outbound_db: apsw.Connection) -> None:
    changes = [("a", AckStatus.PROCESSING), ("b", AckStatus.COMPLETED), ("c", AckStatus.FAILED)]
    outbound.write(outbound_db, now=AT, acknowledge=changes)
    assert outbound.acquire(outbound_db, runner="fresh", now=AT) == 1
    assert outbound.acquire(outbound_db, runner="fresher", now=AT) == 0
    assert outbound.settled(outbound_db, ["a", "b", "c", "unknown"]) == {"b", "c"}


@pytest.mark.invariant(number=1)
def test_write_of_superseded_runner_is_refused(outbound_db: apsw.Connection) -> None:
    outbound.acquire(outbound_db, runner="old", now=AT)
    assert outbound.write(outbound_db, now=AT, messages=[outgoing("a")], runner="old") == [1]
    outbound.acquire(outbound_db, runner="new", now=AT)
    with pytest.raises(outbound.Superseded):
        outbound.write(outbound_db, now=AT, messages=[outgoing("b")], runner="old")
    assert outbound.write(outbound_db, now=AT, messages=[outgoing("c")], runner="new") == [3]


def test_state_survives_the_runner(outbound_db: apsw.Connection) -> None:
    outbound.set_state(outbound_db, "continuation:mock", "one", AT)
    outbound.set_state(outbound_db, "continuation:mock", "two", AT)
    assert outbound.state(outbound_db, "continuation:mock") == "two"
    outbound.set_state(outbound_db, "continuation:mock", None, AT)
    assert outbound.state(outbound_db, "continuation:mock") is None


def test_runner_state_is_none_before_first_write(outbound_db: apsw.Connection) -> None:
    assert outbound.runner_state(outbound_db) is None


def test_runner_state_is_the_last_one(outbound_db: apsw.Connection) -> None:
    for activity in (Activity.BUSY, Activity.IDLE):
        state = RunnerState(activity=activity, tool="Bash", tool_timeout_s=2.5, tool_started_at=AT, updated_at=AT)
        outbound.write(outbound_db, now=AT, now_state=state)
    assert outbound.runner_state(outbound_db) == state


@pytest.mark.parametrize("column", ["seq", "id", "kind", "at", "content", "channel", "deliver_after"])
def test_messages_after_wrong_type_is_refused(column: str) -> None:
    db = apsw.Connection(":memory:")
    columns = ("seq", "id", "kind", "at", "deliver_after", "in_reply_to", "channel", "room", "thread", "content")
    db.execute(
        f"CREATE TABLE messages_out ({', '.join(columns)})"
    )  # without types, as a hostile runner could create it
    good = {"seq": 1, "id": "a", "kind": "chat", "at": AT, "content": "{}"}
    values = good | {column: b"blob"}
    marks = ", ".join(f":{name}" for name in values)
    db.execute(f"INSERT INTO messages_out ({', '.join(values)}) VALUES ({marks})", values)
    with pytest.raises(ValueError, match=r"bytes|blob"):
        outbound.messages_after(db, 0, limit=9)
    db.close()


def test_claims_wrong_type_is_refused() -> None:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE acknowledgements (message_id, status, changed_at, revision)")
    db.execute("INSERT INTO acknowledgements VALUES (7, 'processing', 'x', 1)")
    with pytest.raises(ValueError, match="`message_id` must be str, got int"):
        outbound.claims(db)
    db.close()


def test_acknowledgements_after_forged_revision_is_refused() -> None:
    """A higher revision would leave no number for the next change."""
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE acknowledgements (message_id, status, changed_at, revision)")
    db.execute("INSERT INTO acknowledgements VALUES ('in-1', 'completed', 'x', 4611686018427387904)")
    with pytest.raises(ValueError, match=r"`revision` must be .*, got 4611686018427387904"):
        outbound.acknowledgements_after(db, 0, limit=9)
    db.close()


def test_runner_state_wrong_type_is_refused() -> None:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE runner_state (one, activity, tool, tool_timeout_s, tool_started_at, updated_at)")
    db.execute("INSERT INTO runner_state VALUES (1, 'busy', 'Bash', 'for ever', NULL, 'x')")
    with pytest.raises(ValueError, match="`tool_timeout_s` must be a number or NULL, got str"):
        outbound.runner_state(db)
    db.close()
