"""Checks that distinguish a damaged session from one that only cannot be read now.

The checks open their own connections and read only the session's files, so that a fault elsewhere (the central
database, a runtime, a full disk) never counts as damage of the session.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import apsw
from nanoclaw_untrusted.database_checks import damage_found_by, page_damage, schema_damage
from nanoclaw_wire import PROTOCOL, outbound, session_files
from nanoclaw_wire.layout import OUTBOX, STATE, Layout
from nanoclaw_wire.session_files import NotARegularFile, WrongProtocol

from nanoclaw_core.mailbox.outbox import open_outbound
from nanoclaw_core.store.sessions import Session

CHECK_CPU_S = 5.0  # for the pages of one outbound.db; the check of a larger file ends there without damage
MAX_PROTOCOL = 999  # a larger number was never a version, so the header is damaged


def check_integrity(layout: Layout, session: Session) -> str:
    """Check a session's files; return the first damage, or an empty text if none is found.

    Reads whole files: call it in a thread, and only after an error. A file that cannot be checked now counts as whole.
    """
    return _of_inbound(layout.inbound_db) or _of_directories(layout) or _of_outbound(layout.outbound_db, session)


def _of_inbound(path: Path) -> str:
    if not path.exists():
        return f"{path.name} is missing"

    def check() -> str:
        # Use the system's own VFS: closing a second descriptor of the file would drop our writer's locks.
        # Open it writable: SQLite ignores every CHECK of a read-only file and would miss rows that break one.
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
            db.set_busy_timeout(session_files.BUSY_TIMEOUT_MS)
            if db.pragma("user_version") != PROTOCOL:
                return _of_header(db, path)
            return _named(path, schema_damage(db, [session_files.INBOUND_SCHEMA]) or page_damage(db))

    return damage_found_by(check, path)


def _of_header(db: apsw.Connection, path: Path) -> str:
    """Return the damage of an empty file or a damaged header; a file of another version is whole."""
    version = db.pragma("user_version")
    if 0 < version <= MAX_PROTOCOL and db.pragma("application_id") == 0:  # no version of nanoclaw sets the id
        return ""
    return f"{path.name} has the protocol {version}" if version else f"{path.name} is empty"


def _of_directories(layout: Layout) -> str:
    for path in (layout.outgoing, layout.outgoing / OUTBOX, layout.outgoing / STATE):
        with contextlib.suppress(FileNotFoundError):  # the next start creates it
            if not stat.S_ISDIR(path.lstat().st_mode):
                return f"out/{path.name} is not a directory"
    return ""


def _of_outbound(path: Path, session: Session) -> str:
    if not os.path.lexists(path):
        return f"{path.name} is missing"

    def check_rows() -> str:
        with contextlib.closing(open_outbound(path)) as db:
            if damage := schema_damage(db, [session_files.OUTBOUND_SCHEMA]):
                return _named(path, damage)
            outbound.messages_after(db, session.outbound_seq, limit=1)
            outbound.acknowledgements_after(db, session.acknowledged_revision, limit=1)
            outbound.claims(db, limit=1)
            outbound.runner_state(db)
            outbound.state(db, "")
            return ""

    def check_pages() -> str:
        with contextlib.closing(open_outbound(path, cpu_s=CHECK_CPU_S)) as db:
            return _named(path, page_damage(db))

    unusable = (NotARegularFile, WrongProtocol)
    of_rows = (apsw.TooBigError, apsw.InterruptError, ValueError, *unusable)
    return damage_found_by(check_rows, path, damage=of_rows) or damage_found_by(check_pages, path, no_damage=unusable)


def _named(path: Path, damage: str) -> str:
    return f"{path.name}: {damage}" if damage else ""
