"""Everything that is parsed from the other side, whatever hypothesis makes up: read or refused, never a crash (I6)."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st
from nanoclaw_wire import clock, outbound, session_files
from nanoclaw_wire.content import Malformed, read_message, read_request
from nanoclaw_wire.outbound import Acknowledgement, AckStatus, Activity, RunnerState

from nanoclaw_core.delivery.outbox_poller import UNREADABLE
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import OutboxReader
from nanoclaw_core.sandboxes.health import Signs, why_stuck

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
    """Give a reader of a session in whose file one table takes anything."""
    with TemporaryDirectory() as home:
        directories = open_root(Path(home))
        layout = directories.create(SESSION)
        db = apsw.Connection(str(layout.outbound_db))
        db.execute(f"DROP TABLE {table}; CREATE TABLE {table} ({columns})")
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' for _ in columns.split(','))})", rows)
        db.close()
        outboxes = OutboxReader(directories, file_bytes=1_000)
        try:
            yield outboxes
        finally:
            outboxes.close()


@settings(deadline=None)
@given(st.lists(st.tuples(*[VALUES] * 10), max_size=3))
def test_invariant_06_any_message_row_is_read_with_its_kinds_or_refused(rows: list[tuple[Any, ...]]) -> None:
    columns = "seq, id, kind, at, deliver_after, in_reply_to, channel, room, thread, content"
    with forged("messages_out", columns, rows) as outboxes, suppress(*UNREADABLE):
        for message in outboxes.news(SESSION, 0).messages:
            assert message.seq % 2 == 1
            assert all(isinstance(text, str) for text in (message.id, message.at, message.content))
            assert isinstance(message.room, str | None)


@settings(deadline=None)
@given(st.lists(st.tuples(*[VALUES] * 4), max_size=3))
def test_invariant_06_any_acknowledgement_is_read_with_its_kinds_or_refused(rows: list[tuple[Any, ...]]) -> None:
    with forged("acknowledgements", "message_id, status, changed_at, revision", rows) as outboxes:
        for read in (lambda: outboxes.acknowledgements(SESSION, 0), lambda: outboxes.claims(SESSION)):
            with suppress(*UNREADABLE):
                assert all(isinstance(ack.message_id, str) and ack.revision <= 2**53 for ack in read())
        with suppress(*UNREADABLE):
            assert outboxes.settled(SESSION, ["in-1"]) <= {"in-1"}


@settings(deadline=None)
@given(st.tuples(*[VALUES] * 5))
def test_invariant_06_any_runner_state_is_read_or_refused_and_judged_without_a_crash(row: tuple[Any, ...]) -> None:
    columns = "one, activity, tool, tool_timeout_s, tool_started_at, updated_at"
    with forged("runner_state", columns, [(1, *row)]) as outboxes, suppress(*UNREADABLE):
        state = outboxes.state(SESSION)
        assert isinstance(why_stuck(Signs(now=NOW, started_at=NOW, heartbeat_at=None, claims=[], state=state)), str)


@given(
    st.floats() | st.none(),
    st.text(max_size=20) | st.none(),
    st.lists(DATES | st.text(max_size=10), max_size=3),
    st.datetimes(timezones=st.just(UTC)) | st.none(),
)
def test_invariant_06_any_signs_are_judged_and_nonsense_does_not_keep_a_sandbox_alive(
    timeout_s: float | None, tool: str | None, claimed: list[str], heartbeat: datetime | None
) -> None:
    state = RunnerState(
        activity=Activity.BUSY, tool=tool, tool_timeout_s=timeout_s, tool_started_at=None, updated_at="x"
    )
    claims = [Acknowledgement(message_id="m", status=AckStatus.PROCESSING, changed_at=at, revision=1) for at in claimed]
    reason = why_stuck(
        Signs(now=NOW, started_at=NOW - timedelta(days=1), heartbeat_at=heartbeat, claims=claims, state=state)
    )
    is_long = bool(tool) and timeout_s is not None and not math.isnan(timeout_s) and timeout_s > 1_800
    if (heartbeat is None or heartbeat < NOW - timedelta(hours=1)) and not is_long:
        assert reason


@given(st.sampled_from(["chat", "card"]), CONTENTS)
def test_warning_41_any_object_with_our_keys_is_a_message_or_malformed(kind: str, found: dict[str, Any]) -> None:
    with suppress(Malformed):
        message = read_message(kind, json.dumps(found))
        assert isinstance(message.text, str)
        message.text.encode()


@given(CONTENTS)
def test_warning_41_any_object_with_our_keys_is_a_request_or_malformed(found: dict[str, Any]) -> None:
    with suppress(Malformed):
        request = read_request(json.dumps(found))
        assert len(request.action) <= 100
        assert len(request.request_id) <= 200


@given(DATES)
def test_any_date_is_a_time_in_utc_or_refused_with_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert clock.from_text(text).tzinfo is UTC


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=5_000))
def test_invariant_06_any_bytes_in_the_place_of_the_file_are_refused(found: bytes) -> None:
    with TemporaryDirectory() as home:
        directories = open_root(Path(home))
        layout = directories.create(SESSION)
        header = layout.outbound_db.read_bytes()[:100]
        for content in (found, header + found):
            layout.outbound_db.write_bytes(content)
            with suppress(*UNREADABLE):
                db = session_files.open_readable(layout.outbound_db)
                outbound.messages_after(db, 0, limit=10)
                db.close()
