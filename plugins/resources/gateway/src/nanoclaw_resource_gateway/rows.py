"""The records of calls: session, upstream, time and outcome.

They contain no query, header or body.
"""

from __future__ import annotations

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
# The sandbox chooses both, so their length must be limited.
MAX_NAME_CHARACTERS, MAX_PATH_CHARACTERS = 80, 500


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


def insert_call(db: apsw.Connection, call: Call) -> None:
    """Insert the record of a call."""
    row = asdict(call) | {"upstream": call.upstream[:MAX_NAME_CHARACTERS], "path": call.path[:MAX_PATH_CHARACTERS]}
    db.execute(
        "INSERT INTO gateway_calls (at, agent_group_id, session_id, upstream, method, path, status, duration_ms, model,"
        " input_tokens, output_tokens, error) VALUES (:at, :agent_group_id, :session_id, :upstream, :method, :path,"
        " :status, :duration_ms, :model, :input_tokens, :output_tokens, :error)",
        row,
    )


async def prune(context: PluginContext) -> None:
    """Delete the records that are older than `keep_days`."""
    settings = context.settings or Settings()
    oldest = clock.to_text(clock.now() - timedelta(days=settings.keep_days))
    context.database.execute("DELETE FROM gateway_calls WHERE at < ?", (oldest,))
