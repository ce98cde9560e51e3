"""Random rows, files and objects from a sandbox.

The host reads or refuses them, and never crashes (I6).
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nanoclaw_wire import clock, outbound, session_files
from nanoclaw_wire.content import Malformed, read_message, read_request
from nanoclaw_wire.outbound import Acknowledgement, AckStatus, Activity, RunnerState

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import UNREADABLE, OutboxReader
from nanoclaw_core.sandboxes.health import HealthSignals, stuck_reason
from nanoclaw_core.timing import Timing

SESSION = SessionId("ses-1")
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.binary(max_size=50),
    st.sampled_from(["chat", "card", "action", "idle", "busy", "processing", "completed", "failed"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
KEYS = ["text", "files", "operation", "seq", "emoji", "type", "question_id", "title", "options", "card", "action"]
CONTENTS = st.dictionaries(st.sampled_from([*KEYS, "request_id", "arguments", "fallback_text"]), JSON, max_size=6)
DATES = st.from_regex(
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{3})?"
    r"(Z|[+-][0-2][0-9]:?[0-5][0-9])?\Z"
)


@contextmanager
def forged(table: str, columns: str, rows: list[tuple[Any, ...]]) -> Iterator[OutboxReader]:
    """Yield a reader of a session in which one table has no constraints and some forged rows."""
    with TemporaryDirectory() as home:
        directories = open_root(Path(home))
        layout = directories.create(SESSION)
        db = apsw.Connection(str(layout.outbound_db))
        db.execute(f"DROP TABLE {table}; CREATE TABLE {table} ({columns})")
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' for _ in columns.split(','))})", rows)
        db.close()
        outbox = OutboxReader(directories, file_bytes=1_000)
        try:
            yield outbox
        finally:
            outbox.close()


@pytest.mark.invariant(number=6)
@settings(deadline=None)
@given(st.lists(st.tuples(*[VALUES] * 10), max_size=3))
def test_any_message_row_is_read_or_refused(rows: list[tuple[Any, ...]]) -> None:
    columns = "seq, id, kind, at, deliver_after, in_reply_to, channel, room, thread, content"
    with forged("messages_out", columns, rows) as outbox, suppress(*UNREADABLE):
        for message in outbox.read_new(SESSION, 0).messages:
            assert message.seq % 2 == 1
            assert all(isinstance(text, str) for text in (message.id, message.at, message.content))
            assert isinstance(message.room, str | None)


@pytest.mark.invariant(number=6)
@settings(deadline=None)
@given(st.lists(st.tuples(*[VALUES] * 4), max_size=3))
def test_any_acknowledgement_row_is_read_or_refused(rows: list[tuple[Any, ...]]) -> None:
    with forged("acknowledgements", "message_id, status, changed_at, revision", rows) as outbox:
        for read in (lambda: outbox.acknowledgements(SESSION, 0), lambda: outbox.claims(SESSION)):
            with suppress(*UNREADABLE):
                assert all(isinstance(ack.message_id, str) and ack.revision <= 2**53 for ack in read())
        with suppress(*UNREADABLE):
            assert outbox.finished(SESSION, ["in-1"]) <= {"in-1"}


@pytest.mark.invariant(number=6)
@settings(deadline=None)
@given(st.tuples(*[VALUES] * 5))
def test_any_runner_state_is_judged_or_refused(row: tuple[Any, ...]) -> None:
    columns = "one, activity, tool, tool_timeout_s, tool_started_at, updated_at"
    with forged("runner_state", columns, [(1, *row)]) as outbox, suppress(*UNREADABLE):
        state = outbox.state(SESSION)
        assert isinstance(
            stuck_reason(HealthSignals(now=NOW, started_at=NOW, heartbeat_at=None, claims=[], state=state), Timing()),
            str,
        )


@pytest.mark.invariant(number=6)
@given(
    st.floats() | st.none(),
    st.text(max_size=20) | st.none(),
    st.lists(DATES | st.text(max_size=10), max_size=3),
    st.datetimes(timezones=st.just(UTC)) | st.none(),
)
def test_nonsense_signals_do_not_keep_a_sandbox_alive(
    timeout_s: float | None, tool: str | None, claimed: list[str], heartbeat: datetime | None
) -> None:
    state = RunnerState(
        activity=Activity.BUSY, tool=tool, tool_timeout_s=timeout_s, tool_started_at=None, updated_at="x"
    )
    claims = [Acknowledgement(message_id="m", status=AckStatus.PROCESSING, changed_at=at, revision=1) for at in claimed]
    reason = stuck_reason(
        HealthSignals(now=NOW, started_at=NOW - timedelta(days=1), heartbeat_at=heartbeat, claims=claims, state=state),
        Timing(),
    )
    is_long = bool(tool) and timeout_s is not None and not math.isnan(timeout_s) and timeout_s > 1_800
    if (heartbeat is None or heartbeat < NOW - timedelta(hours=1)) and not is_long:
        assert reason


@pytest.mark.defect(number=41)
@given(st.sampled_from(["chat", "card"]), CONTENTS)
def test_any_object_is_a_message_or_malformed(kind: str, data: dict[str, Any]) -> None:
    with suppress(Malformed):
        message = read_message(kind, json.dumps(data))
        assert isinstance(message.text, str)
        message.text.encode()


@pytest.mark.defect(number=41)
@given(CONTENTS)
def test_any_object_is_a_request_or_malformed(data: dict[str, Any]) -> None:
    with suppress(Malformed):
        request = read_request(json.dumps(data))
        assert len(request.action) <= 100
        assert len(request.request_id) <= 200


@given(DATES)
def test_any_date_is_a_utc_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert clock.from_text(text).tzinfo is UTC


@pytest.mark.invariant(number=6)
@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=5_000))
def test_any_bytes_as_a_database_are_refused(data: bytes) -> None:
    with TemporaryDirectory() as home:
        directories = open_root(Path(home))
        layout = directories.create(SESSION)
        header = layout.outbound_db.read_bytes()[:100]
        for content in (data, header + data):
            layout.outbound_db.write_bytes(content)
            with suppress(*UNREADABLE):
                db = session_files.open_readable(layout.outbound_db)
                outbound.messages_after(db, 0, limit=10)
                db.close()
