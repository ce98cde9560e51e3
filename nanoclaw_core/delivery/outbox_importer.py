"""Import of a runner's rows into the central database, each row once.

The cursor is stored in the same transaction. The importer checks each row: its shape, and whether the session may write
to its address (I6, I8). Errors of the central database have their own class, because they do not mean that the session
is damaged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import apsw
from attrs import evolve, frozen
from nanoclaw_wire import clock, content, inbound
from nanoclaw_wire.content import ActionRequest, Malformed
from nanoclaw_wire.outbound import Activity, OutboundMessage, OutKind

from nanoclaw_core.delivery.backlog import CountKey
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.descriptors.votes import DeliveryRequest
from nanoclaw_core.errors import Forbidden
from nanoclaw_core.guard import Guard
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.store import deliveries, messaging, sessions
from nanoclaw_core.store.connection import central
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
MAX_REPORTED_REFUSALS = 5  # of one poll; the rest is reported as a number


@frozen(kw_only=True)
class ImportResult:
    """The result of one import.

    Args:
        queued: Messages that are stored and ready to send, in order.
        refused: The reason for each message that was stored as failed; the agent receives it as a note.
        requests: Actions that the runner requests. They run at most once: the cursor is written before they run.
        is_idle: True if the runner reports no open turn and no more rows wait.
        has_more: True if more rows wait.
        is_blocked: True if nothing can be imported now, because the host is too busy or cannot store rows.
    """

    queued: Sequence[Delivery] = ()
    refused: Sequence[str] = ()
    requests: Sequence[ActionRequest] = ()
    is_idle: bool = False
    has_more: bool = False
    is_blocked: bool = False


@frozen(kw_only=True)
class OutboxImporter:
    """Imports the outbound rows of sessions."""

    db: apsw.Connection
    guard: Guard
    queues: DeliveryQueues
    mailbox: Mailbox

    def import_next(self, session_id: SessionId) -> ImportResult:
        """Import the next batch of a session's new rows.

        Raises:
            NeedsRecovery, apsw.Error, NotARegularFile, WrongProtocol, ValueError: The file cannot be read now; nothing
                was imported.
            CentralDatabaseFailed: The rows cannot be stored now; nothing was imported.
        """
        with central():
            session = sessions.get(self.db, session_id)
        if session is None:
            return ImportResult()
        snapshot = self.mailbox.outbox.read_new(session_id, session.outbound_seq)
        accepted: Counter[CountKey] = Counter()
        rows = [self._within_limits(self._checked(session, message), accepted) for message in snapshot.messages]
        if snapshot.messages:
            with central(), self.db:
                rows = [self._stored(row) for row in rows]
                sessions.set_outbound_cursor(self.db, session_id, snapshot.messages[-1].seq)
        _log_refusals(session_id, rows)
        stored = [row for row in rows if isinstance(row, Delivery)]
        return ImportResult(
            queued=[delivery for delivery in stored if delivery.last_error is None],
            refused=[delivery.last_error for delivery in stored if delivery.last_error is not None],
            requests=[row for row in rows if isinstance(row, ActionRequest)],
            is_idle=snapshot.state is not None and snapshot.state.activity is Activity.IDLE and not snapshot.has_more,
            has_more=snapshot.has_more,
        )

    def _checked(self, session: Session, message: OutboundMessage) -> Delivery | ActionRequest | Malformed:
        """Check one row without storing it; return the error of an unreadable action."""
        if message.kind is not OutKind.ACTION:
            return self._delivery(session, message, self._problem(session, message))
        try:
            request = content.read_request(message.content)
            return evolve(request, correlation_id=self._answered(session, message)[1])
        except Malformed as error:
            return error

    def _within_limits(
        self, row: Delivery | ActionRequest | Malformed, accepted: Counter[CountKey]
    ) -> Delivery | ActionRequest | Malformed:
        """Fail a message beyond the limit of waiting messages for its room or date (I14)."""
        if not isinstance(row, Delivery) or row.last_error is not None:
            return row
        problem = self.queues.refusal(row, accepted)
        if problem is None:
            return row
        # Without its content: a sandbox that floods a room whose platform is gone must not fill the database.
        return evolve(row, status=DeliveryStatus.FAILED, last_error=problem, content="{}")

    def _stored(self, row: Delivery | ActionRequest | Malformed) -> Delivery | ActionRequest | Malformed:
        """Store a delivery and return it with its position; return an action unchanged."""
        if not isinstance(row, Delivery):
            return row
        delivery = evolve(row, position=deliveries.next_position(self.db))
        deliveries.add(self.db, [delivery])
        return delivery

    def _problem(self, session: Session, message: OutboundMessage) -> str | None:
        """Return the reason why a message cannot be sent, or None."""
        try:
            content.read_message(message.kind.value, message.content)
            self._require_permitted_target(session, message)
            _check_time(message.deliver_after)
        except (Malformed, Forbidden) as error:
            return str(error)
        return None

    def _require_permitted_target(self, session: Session, message: OutboundMessage) -> None:
        """Check that the target is the session's own conversation, or a room that the vote permits.

        Raises:
            Malformed: The row has no room.
            Forbidden: The room is unknown, or the vote does not permit it.
        """
        if not message.channel or not message.room:
            raise Malformed("the message has no target room")
        address = Address(message.channel, message.room, message.thread)
        if self._is_own(session, address):
            return
        with central():
            if messaging.find(self.db, address.channel, address.room) is None:
                raise Forbidden("this host does not know the room")
            self.guard.check_delivery(
                DeliveryRequest(session_id=session.id, agent_group_id=session.agent_group_id, address=address)
            )

    def _is_own(self, session: Session, address: Address) -> bool:
        if session.messaging_group_id is not None:
            with central():
                own = messaging.get(self.db, session.messaging_group_id)
            if own is not None and (own.channel, own.room) == (address.channel, address.room):
                return True
        # An agent-shared session may answer in each room that wrote to it. Only the host writes those inbound rows.
        return inbound.latest_from(self.mailbox.inbox.read(session.id), address.channel, address.room) is not None

    def _delivery(self, session: Session, message: OutboundMessage, problem: str | None) -> Delivery:
        in_reply_to, correlation_id = self._answered(session, message)
        now = clock.now_text()
        return Delivery(
            id=DeliveryId(f"dlv-{session.id}-{message.seq}"),
            position=0,  # `_stored` sets it
            session_id=session.id,
            message_id=message.id,
            message_seq=message.seq,
            channel=message.channel or "",
            room=message.room or "",
            thread=message.thread or None,
            kind=message.kind.value,
            content=message.content,
            in_reply_to=in_reply_to,
            status=DeliveryStatus.FAILED if problem else DeliveryStatus.QUEUED,
            next_try_at=message.deliver_after,
            deliver_after=message.deliver_after,
            last_error=problem,
            correlation_id=correlation_id,
            created_at=now,
            updated_at=now,
        )

    def _answered(self, session: Session, message: OutboundMessage) -> tuple[str | None, str | None]:
        """Return the platform id and the correlation id of the answered message, or None for each."""
        asked = inbound.by_id(self.mailbox.inbox.read(session.id), message.in_reply_to) if message.in_reply_to else None
        return (asked.platform_message_id, asked.correlation_id) if asked else (None, None)


def _log_refusals(session_id: SessionId, rows: Sequence[Delivery | ActionRequest | Malformed]) -> None:
    """Log the first refusals and count the others, because a sandbox must not fill the log."""
    lines: list[dict[str, object]] = []
    for row in rows:
        if isinstance(row, Malformed):
            lines.append({"reason": str(row), "what": "action"})
        elif isinstance(row, Delivery) and row.last_error is not None:
            lines.append({"reason": row.last_error, "what": "message", "correlation": row.correlation_id})
    for values in lines[:MAX_REPORTED_REFUSALS]:
        log.warning("outbound row refused", extra={"session": session_id} | values)
    if len(lines) > MAX_REPORTED_REFUSALS:
        log.warning("more rows refused", extra={"session": session_id, "count": len(lines) - MAX_REPORTED_REFUSALS})


def _check_time(text: str | None) -> None:
    if text is None:
        return
    try:
        clock.from_text(text)
    except ValueError as error:
        raise Malformed(f"deliver_after: {error}") from error
