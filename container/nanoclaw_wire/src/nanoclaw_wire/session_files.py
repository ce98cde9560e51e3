"""Creates and opens a session's two SQLite files.

I1: each file has one writer and never uses WAL, because shared memory does not cross every kind of mount. Each function
applies its own settings, because `apsw.bestpractice.apply` affects every later connection of the process and would
switch these files to WAL.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

import apsw

from nanoclaw_wire import PROTOCOL, untrusted_files
from nanoclaw_wire.atomic_files import write_atomically
from nanoclaw_wire.exhaustion import explain_cannot_open

BUSY_TIMEOUT_MS = 5_000

INBOUND_SCHEMA = """
CREATE TABLE messages_in (
    seq INTEGER PRIMARY KEY CHECK (seq % 2 = 0 AND seq > 0),   -- the message id an agent sees (I2)
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('chat', 'task', 'webhook', 'system')),
    at TEXT NOT NULL CHECK (at GLOB '????-??-??T??:??:??.???Z'),
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'paused', 'completed', 'failed')),
    process_after TEXT CHECK (process_after GLOB '????-??-??T??:??:??.???Z'),
    tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    trigger INTEGER NOT NULL DEFAULT 1 CHECK (trigger IN (0, 1)),   -- 0: context only, starts no turn
    on_wake INTEGER NOT NULL DEFAULT 0 CHECK (on_wake IN (0, 1)),   -- 1: only for the first poll of a fresh runner (I5)
    channel TEXT, room TEXT, thread TEXT CHECK (thread <> ''),
    platform_message_id TEXT,                                       -- the platform's own id, for edits and reactions
    correlation_id TEXT,
    source_session_id TEXT,                                         -- the sender's session, if an agent wrote
    series_id TEXT, recurrence TEXT,
    content TEXT NOT NULL CHECK (json_valid(content) AND json_type(content) = 'object')
) STRICT;
CREATE INDEX messages_in_pending ON messages_in (seq) WHERE status = 'pending';
CREATE INDEX messages_in_series ON messages_in (series_id) WHERE series_id IS NOT NULL;
CREATE TABLE destinations (
    name TEXT PRIMARY KEY,
    display_name TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('channel', 'agent')),
    channel TEXT, room TEXT, agent_group_id TEXT
) STRICT;
CREATE TABLE session_routing (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    channel TEXT, room TEXT, thread TEXT CHECK (thread <> '')
) STRICT;
"""

OUTBOUND_SCHEMA = """
CREATE TABLE messages_out (
    seq INTEGER PRIMARY KEY CHECK (seq % 2 = 1 AND seq > 0),
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('chat', 'card', 'action')),
    at TEXT NOT NULL,
    deliver_after TEXT,
    in_reply_to TEXT,                                               -- messages_in.id
    channel TEXT, room TEXT, thread TEXT,
    content TEXT NOT NULL
) STRICT;
CREATE TABLE acknowledgements (
    message_id TEXT PRIMARY KEY,                                    -- messages_in.id
    status TEXT NOT NULL CHECK (status IN ('processing', 'completed', 'failed')),
    changed_at TEXT NOT NULL,
    revision INTEGER NOT NULL UNIQUE                                -- grows with every change: readers ask for new ones
) STRICT;
CREATE INDEX acknowledgements_open ON acknowledgements (message_id) WHERE status = 'processing';
CREATE TABLE session_state (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT NOT NULL) STRICT;
CREATE TABLE runner_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    activity TEXT NOT NULL CHECK (activity IN ('idle', 'busy')),
    tool TEXT, tool_timeout_s REAL, tool_started_at TEXT,
    updated_at TEXT NOT NULL
) STRICT;
"""


class WrongProtocol(Exception):
    """A session file has another protocol number. Nothing was changed."""


class NotARegularFile(Exception):
    """A session file is a link, a pipe, a device or a directory, or it has a second name."""


def create_inbound(path: Path) -> None:
    """Create an empty inbound.db, unless it exists. For the host alone (I1). Durable like `write_atomically`."""
    _create(path, INBOUND_SCHEMA)


def create_outbound(path: Path) -> None:
    """Create an empty outbound.db, before any runner exists. After that the runner alone writes it (I1)."""
    _create(path, OUTBOUND_SCHEMA)


def open_writable(path: Path) -> apsw.Connection:
    """Open a session file for its one writer, and roll back the transaction of a killed one.

    Raises:
        WrongProtocol: The file has another protocol number.
        apsw.Error: The file is missing, damaged or locked. A `CantOpenError` has a cause if the machine is exhausted.
    """
    with explain_cannot_open(path.parent):
        return _checked(_configured(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)), path)


def open_readable(
    path: Path,
    *,
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    prepare: Callable[[apsw.Connection], None] = lambda _db: None,
) -> apsw.Connection:
    """Open the other side's file for reading, without trust in its content.

    The hot journal of a killed writer is *not* rolled back here: SQLite raises `ReadOnlyError`, and only the file's own
    writer may repair it. A rollback would follow the super-journal name in the journal and delete the file of that name
    (https://www.sqlite.org/atomiccommit.html), so a hostile sandbox could have any file deleted.

    Args:
        path: The file.
        busy_timeout_ms: How long to wait for a lock, in milliseconds.
        prepare: Called before the first read, to set limits.

    Raises:
        NotARegularFile: The path is not a regular file with exactly one name.
        WrongProtocol: The file has another protocol number.
        apsw.Error: The file is missing, damaged, locked, or waits for its writer to repair it.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise NotARegularFile(f"{path} is not a regular file with one name")
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
    db = apsw.Connection(str(path), flags=flags, vfs=untrusted_files.vfs_name())
    db.set_busy_timeout(busy_timeout_ms)
    prepare(db)
    for option in (
        apsw.SQLITE_DBCONFIG_DEFENSIVE,
        apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER,
        apsw.SQLITE_DBCONFIG_ENABLE_VIEW,
    ):
        db.config(option, 1 if option == apsw.SQLITE_DBCONFIG_DEFENSIVE else 0)
    db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    db.pragma("mmap_size", 0)
    db.pragma("cell_size_check", 1)
    return _checked(db, path)


def _create(path: Path, schema: str) -> None:
    """Write the bytes of an empty database. SQLite itself would need five syncs to create it, and this needs two."""
    if not os.path.lexists(path):
        # The mode lets the sandbox's user read it. The mode of `sessions/` keeps out the other users of the machine.
        write_atomically(path, _empty_database(schema), mode=0o644, sync=True)


@cache
def _empty_database(schema: str) -> bytes:
    db = apsw.Connection(":memory:")
    try:
        db.execute(schema)
        db.pragma("user_version", PROTOCOL)
        return db.serialize("main")
    finally:
        db.close()


def _configured(db: apsw.Connection) -> apsw.Connection:
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    db.pragma("journal_mode", "persist")  # saves two directory syncs a commit against DELETE
    db.pragma("synchronous", "full")  # I3: acknowledged rows survive a crash of the machine
    db.pragma("mmap_size", 0)  # memory maps do not cross the mounts of virtual machines
    db.pragma("trusted_schema", 0)
    return db


def _checked(db: apsw.Connection, path: Path) -> apsw.Connection:
    version = db.pragma("user_version")
    if version != PROTOCOL:
        db.close()
        raise WrongProtocol(f"{path.name} has protocol {version}, this side supports {PROTOCOL}")
    return db
