"""Messages that a platform offers again: each is accepted once, also after its session was closed.

Only a message with an id of its platform can be recognised.
"""

from __future__ import annotations

import logging

import apsw
from nanoclaw_wire.inbound import by_id
from nanoclaw_wire.session_files import WrongProtocol

from nanoclaw_core.ids import GroupId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.routing.incoming import IncomingMessage
from nanoclaw_core.store import accepted, sessions
from nanoclaw_core.store.accepted import Accepted
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)


def was_accepted(db: apsw.Connection, mailbox: Mailbox, group_id: GroupId, message: IncomingMessage) -> bool:
    """Return True if an agent group accepted this message before. A session in use must still have it."""
    session_id = accepted.session_of(db, group_id, message.row_id)
    session = sessions.get(db, session_id) if session_id else None
    if session is None or session.status != "active":
        return session_id is not None
    try:
        return by_id(mailbox.inbox.read(session.id), message.row_id) is not None
    except (apsw.Error, OSError, WrongProtocol, ValueError):
        return False  # storing the message meets the same error, and looks for damage


def record_accepted(db: apsw.Connection, session: Session, message: IncomingMessage) -> None:
    """Record a stored message for the time after its session. Until then inbound.db has it, too."""
    stored = Accepted(
        agent_group_id=session.agent_group_id,
        message_id=message.row_id,
        session_id=session.id,
        channel=message.address.channel,
        room=message.address.room,
        thread=message.address.thread,
        correlation_id=message.correlation_id,
    )
    try:
        accepted.record(db, stored)
    except apsw.Error as error:  # the message itself is durable: its receipt must not depend on this
        log.warning("accepted message not recorded", extra={"session": session.id, "error": str(error)})
