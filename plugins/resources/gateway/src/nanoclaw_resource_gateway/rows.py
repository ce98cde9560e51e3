"""The records of forwarded calls: session, upstream, time and outcome.

They contain no query, header or body. A session has a limited number a day; later calls are only counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import apsw
from attrs import asdict, frozen
from nanoclaw_wire import clock

from nanoclaw_core import GroupId, PluginContext, SessionId
from nanoclaw_resource_gateway.settings import Settings

SCHEMA = """
CREATE TABLE gateway_calls (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL CHECK (at GLOB '????-??-??T??:??:??.???Z'),    -- when the call began
    agent_group_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    upstream TEXT NOT NULL,                                         -- as requested, even if it is not declared
    method TEXT NOT NULL,
    path TEXT NOT NULL,                                             -- at the upstream, without query
    status INTEGER CHECK (status BETWEEN 100 AND 599),              -- status sent to the sandbox; NULL if none was
    duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
    model TEXT,                                                     -- model and tokens as the answer reports them
    input_tokens INTEGER CHECK (input_tokens >= 0),                 -- includes cache reads and writes
    output_tokens INTEGER CHECK (output_tokens >= 0),
    error TEXT                                                      -- reason of a failure, in a few fixed words
) STRICT;
CREATE INDEX gateway_calls_at ON gateway_calls (at);
CREATE INDEX gateway_calls_session ON gateway_calls (session_id, id);
"""
UNRECORDED_SCHEMA = """
CREATE TABLE gateway_unrecorded (
    session_id TEXT NOT NULL,
    day TEXT NOT NULL CHECK (day GLOB '????-??-??'),                -- in UTC
    calls INTEGER NOT NULL CHECK (calls > 0),                       -- forwarded calls beyond the limit of records
    PRIMARY KEY (session_id, day)
) STRICT, WITHOUT ROWID;
"""
DAY_CHARACTERS = len("2026-01-31")


@frozen(kw_only=True)
class Call:
    """One row of `gateway_calls`."""

    at: str
    agent_group_id: GroupId
    session_id: SessionId
    upstream: str
    method: str
    path: str
    status: int | None
    duration_ms: int
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    error: str | None


def create_calls(db: apsw.Connection) -> None:
    """Create the table."""
    db.execute(SCHEMA)


def create_unrecorded(db: apsw.Connection) -> None:
    """Create the table of calls beyond the limit."""
    db.execute(UNRECORDED_SCHEMA)


def insert_calls(db: apsw.Connection, calls: Sequence[Call], unrecorded: Mapping[tuple[SessionId, str], int]) -> None:
    """Store records, and counts of calls without one by session and day, in one transaction."""
    with db:
        db.executemany(
            "INSERT INTO gateway_calls (at, agent_group_id, session_id, upstream, method, path, status, duration_ms,"
            " model, input_tokens, output_tokens, error) VALUES (:at, :agent_group_id, :session_id, :upstream, :method,"
            " :path, :status, :duration_ms, :model, :input_tokens, :output_tokens, :error)",
            [asdict(call) for call in calls],
        )
        db.executemany(
            "INSERT INTO gateway_unrecorded (session_id, day, calls) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET calls = calls + excluded.calls",
            [(*session_and_day, count) for session_and_day, count in unrecorded.items()],
        )


def count_calls(db: apsw.Connection, session_id: SessionId, day: str, *, limit: int) -> int:
    """Count the records of a session and day, at most `limit`."""
    newest = "SELECT at FROM gateway_calls WHERE session_id = ? ORDER BY id DESC LIMIT ?"
    counted: int = db.execute(f"SELECT count(*) FROM ({newest}) WHERE at >= ?", (session_id, limit, day)).get
    return counted


async def prune(context: PluginContext) -> None:
    """Delete the records that are older than `keep_days`."""
    settings = context.settings or Settings()
    oldest = clock.to_text(clock.now() - timedelta(days=settings.keep_days))
    context.database.execute("DELETE FROM gateway_calls WHERE at < ?", (oldest,))
    context.database.execute("DELETE FROM gateway_unrecorded WHERE day < ?", (oldest[:DAY_CHARACTERS],))
