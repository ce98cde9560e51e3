"""Import of a runner's rows into the central database, each row once.

The cursor is stored in the same transaction. The importer checks each row: its shape, and whether the session may write
to its address (I6, I8). Errors of the central database have their own class, because they do not mean that the session
is damaged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence, Set
from typing import Any

import apsw
from attrs import evolve, frozen
from nanoclaw_wire import clock, content, inbound
from nanoclaw_wire.content import ActionRequest, Malformed
from nanoclaw_wire.labels import MAX_ID_CHARACTERS
from nanoclaw_wire.outbound import OutboundMessage, OutKind

from nanoclaw_core.delivery.backlog import Backlog, Entry
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
from nanoclaw_core.store.usage import Excess, Usage

log = logging.getLogger(__name__)
MAX_REFUSED_CHARACTERS = 2_000  # kept of a refused message, for the operator
ROW_BYTES = 300  # of a stored row beside its texts
_IDS = ("id", "deliver_after", "in_reply_to", "channel", "room", "thread")
MAX_REPORTED_REFUSALS = 5  # of one poll; the rest is reported as a number

CheckedRow = Entry | ActionRequest | Delivery | Malformed


@frozen(kw_only=True)
class ImportResult:
    """The result of one import.

    Args:
        queued: Messages that are stored and counted in the backlog, in order.
        refused: The reason for each message that was stored as failed. The agent receives the first
            `MAX_REPORTED_REFUSALS` as notes.
        exceeded: The budgets that the rows exceeded for the first time today, each with its reason.
        requests: Actions that the runner requests. They run at most once: the cursor is written before they run.
        has_more: True if more rows wait.
        finished: The messages that an idle runner has finished; None if it is not idle (see `OutboxSnapshot`).
        is_blocked: True if nothing can be imported now, because the host is too busy or cannot store rows.
    """

    queued: Sequence[Entry] = ()
    refused: Sequence[str] = ()
    exceeded: Sequence[str] = ()
    requests: Sequence[ActionRequest] = ()
    has_more: bool = False
    finished: Set[str] | None = None
    is_blocked: bool = False


@frozen(kw_only=True)
class OutboxImporter:
    """Imports the outbound rows of sessions."""

    db: apsw.Connection
    guard: Guard
    backlog: Backlog
    mailbox: Mailbox
    usage: Usage

    def import_next(self, session_id: SessionId) -> ImportResult:
        """Import the next batch of a session's new rows.

        Raises:
            NeedsRecovery, apsw.Error, NotARegularFile, WrongProtocol, ValueError: The file cannot be read now; nothing
                was imported.
            CentralDatabaseFailed: The rows cannot be stored now; nothing was imported.
        """
        with central():
            session = sessions.get(self.db, session_id)
            is_used_up = self.usage.is_used_up(session_id)
        if session is None:
            return ImportResult()
        after = session.outbound_seq
        if is_used_up and (last := self.mailbox.outbox.last_seq(session_id)) > after:
            after = last  # not even read
            with central():
                sessions.set_outbound_cursor(self.db, session_id, after)
        snapshot = self.mailbox.outbox.read_new(session_id, after, session.acknowledged_revision)
        messages = [_cut(message) for message in snapshot.messages]
        rows: list[CheckedRow] = []
        try:
            for message in messages:
                rows.append(self._check(session, message))
            result = self._store(session_id, messages, rows) if rows else ImportResult()
        except BaseException:
            for row in rows:
                if isinstance(row, Entry):
                    self.backlog.leave(row)
            raise
        return evolve(result, has_more=snapshot.has_more, finished=snapshot.finished)

    def _store(
        self, session_id: SessionId, messages: Sequence[OutboundMessage], rows: list[CheckedRow]
    ) -> ImportResult:
        """Store checked rows and the cursor in one transaction; a row beyond a budget is replaced in the list."""
        queued: list[Entry] = []
        requests: list[ActionRequest] = []
        failed: list[Delivery | Malformed] = []
        exceeded: list[str] = []
        with central(), self.db:
            sessions.set_outbound_cursor(self.db, session_id, messages[-1].seq)
            first = deliveries.next_position(self.db)
            for index, message in enumerate(messages):
                excess = self._charge(session_id, message, rows[index])
                if excess is not None:
                    rows[index] = self._refuse(rows[index], excess)
                    exceeded += [excess.reason] if excess.is_first else []
                row = rows[index]
                if isinstance(row, Entry):
                    row.delivery = evolve(row.delivery, position=first + index)
                    deliveries.add(self.db, [row.delivery])
                    queued.append(row)
                    continue
                if isinstance(row, ActionRequest):
                    requests.append(row)
                    continue
                if isinstance(row, Delivery) and (excess is None or excess.is_storable):
                    deliveries.add(self.db, [evolve(row, position=first + index)])
                if excess is None:
                    failed.append(row)
        refused = _report_refusals(session_id, failed) if failed else ()
        return ImportResult(queued=queued, refused=refused, exceeded=exceeded, requests=requests)

    def _charge(self, session_id: SessionId, message: OutboundMessage, row: CheckedRow) -> Excess | None:
        room = (message.channel, message.room) if isinstance(row, Entry) else ()  # which may be written to
        texts = (message.content, *(getattr(message, name) or "" for name in _IDS))
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        return self.usage.charge(session_id, size + ROW_BYTES, room)

    def _refuse(self, row: CheckedRow, excess: Excess) -> ActionRequest | Delivery | Malformed:
        """Replace the content of a row that exceeds a limit by the reason (I14)."""
        if isinstance(row, Malformed):
            return row
        if isinstance(row, ActionRequest):
            is_answered = excess.is_storable or excess.is_first  # an answer is a row, too
            return evolve(row, arguments={}, refusal=excess.reason) if is_answered else Malformed(excess.reason)
        if isinstance(row, Entry):
            self.backlog.leave(row)
            row = row.delivery
        return evolve(row, status=DeliveryStatus.FAILED, last_error=excess.reason, content="{}")

    def _check(self, session: Session, message: OutboundMessage) -> CheckedRow:
        """Check one row without storing it.

        Returns:
            An entry of the backlog, a request, a failed message, or the error of an unreadable request.
        """
        asked_id, parsed, problem = message.in_reply_to, None, None
        asked = inbound.by_id(self.mailbox.inbox.read(session.id), asked_id) if asked_id else None
        try:
            if message.kind is OutKind.ACTION:
                request = content.read_request(message.content)
                return evolve(request, correlation_id=asked.correlation_id if asked else None)
            parsed = content.read_message(message.kind.value, message.content)
            if not message.channel or not message.room:
                raise Malformed("the message has no target room")
            # Only the host writes the answered row, so the session may write to that row's room.
            if asked is None or (asked.channel, asked.room) != (message.channel, message.room):
                self._require_permitted_target(session, Address(message.channel, message.room, message.thread or None))
            if message.deliver_after is not None:
                clock.from_text(message.deliver_after)
        except (ValueError, Forbidden) as error:
            if isinstance(error, Malformed) and message.kind is OutKind.ACTION:
                return error
            problem = str(error)[:MAX_REFUSED_CHARACTERS]
        delivery = Delivery(
            id=DeliveryId(f"dlv-{session.id}-{message.seq}"),
            position=0,  # `import_next` sets it
            session_id=session.id,
            message_id=message.id,
            message_seq=message.seq,
            channel=message.channel or "",
            room=message.room or "",
            thread=message.thread or None,
            kind=message.kind.value,
            content=message.content,
            in_reply_to=asked.platform_message_id if asked else None,
            next_try_at=message.deliver_after,
            deliver_after=message.deliver_after,
            correlation_id=asked.correlation_id if asked else None,
        )
        if problem is not None:
            text = message.content
            if len(text) > MAX_REFUSED_CHARACTERS:
                text = json.dumps({"cut": text[:MAX_REFUSED_CHARACTERS]})
            return evolve(delivery, status=DeliveryStatus.FAILED, last_error=problem, content=text)
        if (problem := self.backlog.refusal(delivery)) is not None:  # the limit of waiting messages (I14)
            # Without its content: a sandbox that floods a room whose platform is gone must not fill the database.
            return evolve(delivery, status=DeliveryStatus.FAILED, last_error=problem, content="{}")
        return self.backlog.enter(delivery, parsed)

    def _require_permitted_target(self, session: Session, address: Address) -> None:
        """Check that the target is the session's own conversation, or a room that the vote permits.

        Raises:
            Forbidden: The room is unknown, or the vote does not permit it.
        """
        with central():
            own = messaging.get(self.db, session.messaging_group_id) if session.messaging_group_id else None
        if own is not None and (own.channel, own.room) == (address.channel, address.room):
            return
        # An agent-shared session may answer in each room that wrote to it. Only the host writes those inbound rows.
        if inbound.latest_from(self.mailbox.inbox.read(session.id), address.channel, address.room) is not None:
            return
        with central():
            if messaging.find(self.db, address.channel, address.room) is None:
                raise Forbidden("this host does not know the room")
            self.guard.check_delivery(
                DeliveryRequest(session_id=session.id, agent_group_id=session.agent_group_id, address=address)
            )


def _cut(message: OutboundMessage) -> OutboundMessage:
    """Cut ids, names and dates that no runner of ours writes (I14)."""
    if all(len(getattr(message, name) or "") <= MAX_ID_CHARACTERS for name in _IDS):
        return message
    cut: dict[str, Any] = {name: (getattr(message, name) or "")[:MAX_ID_CHARACTERS] for name in _IDS}
    return evolve(message, **cut)


def _report_refusals(session_id: SessionId, failed: Sequence[Delivery | Malformed]) -> list[str]:
    """Return the reasons of refused messages.

    Log the first refusals and count the others, because a sandbox must not fill the log.
    """
    reasons: list[str] = []
    lines: list[dict[str, object]] = []
    for row in failed:
        if isinstance(row, Malformed):
            lines.append({"reason": str(row), "what": "action"})
        else:
            reasons.append(row.last_error or "")
            lines.append({"reason": row.last_error, "what": "message", "correlation": row.correlation_id})
    for values in lines[:MAX_REPORTED_REFUSALS]:
        log.warning("outbound row refused", extra={"session": session_id} | values)
    if len(lines) > MAX_REPORTED_REFUSALS:
        log.warning("more rows refused", extra={"session": session_id, "count": len(lines) - MAX_REPORTED_REFUSALS})
    return reasons
