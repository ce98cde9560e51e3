"""Reads the state of an instance: its session files and its database."""

from pathlib import Path

from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import InboundMessage, Routing

from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.instance import Instance


def session_directory(instance: Instance) -> Path:
    (session,) = instance.sessions()
    return instance.paths.home / "sessions" / session.id


def message_statuses(instance: Instance) -> list[tuple[str, int]]:
    db = session_files.open_readable(session_directory(instance) / "in" / "inbound.db")
    try:
        return db.execute("SELECT status, tries FROM messages_in ORDER BY seq").fetchall()
    finally:
        db.close()


def due_at(instance: Instance) -> str | None:
    due: str | None = instance.db.execute("SELECT due_at FROM sessions").get
    return due


def stored_messages(instance: Instance, session: Session) -> list[InboundMessage]:
    db = session_files.open_readable(instance.paths.home / "sessions" / session.id / "in" / "inbound.db")
    try:
        numbers = [seq for (seq,) in db.execute("SELECT seq FROM messages_in ORDER BY seq")]
        messages = [inbound.by_seq(db, seq) for seq in numbers]
        return [message for message in messages if message is not None]
    finally:
        db.close()


def routing_of(instance: Instance, session: Session) -> Routing:
    db = session_files.open_readable(instance.paths.home / "sessions" / session.id / "in" / "inbound.db")
    try:
        return inbound.routing(db)
    finally:
        db.close()


def dropped_messages(instance: Instance) -> list[tuple[str, str, int]]:
    return instance.db.execute("SELECT sender, reason, count FROM dropped_messages ORDER BY sender, reason").fetchall()


def delivery_states(instance: Instance) -> list[tuple[str, int]]:
    return instance.db.execute("SELECT status, attempts FROM deliveries ORDER BY position").fetchall()
