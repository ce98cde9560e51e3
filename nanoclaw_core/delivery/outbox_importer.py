"""Taking over what a runner wrote: each row once, into the central database, in one transaction with the mark.

Every row is judged here: its shape, and whether this session may write to that address (I6, I8). Errors of the central
database have a class of their own, because they are no sign of a damaged session.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import apsw
from attrs import evolve, frozen
from nanoclaw_wire import clock, content, inbound
from nanoclaw_wire.content import ActionRequest, Malformed
from nanoclaw_wire.outbound import Activity, OutboundMessage, OutKind

from nanoclaw_core.delivery.backlog import CountKey
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.descriptors.votes import DeliveryRequest
from nanoclaw_core.errors import Forbidden
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.store import deliveries, messaging, sessions
from nanoclaw_core.store.connection import central
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
REFUSALS_TOLD = 5  # of one look, one by one; the rest as a number


@frozen(kw_only=True)
class ImportResult:
    """What one look brought.

    Args:
        queued: Stored and ready to send, in order.
        refused: Why others were stored as failed; the agent is to be told.
        requests: Actions that the runner asks for. ImportResult over at most once: the mark is written before they run.
        is_idle: True where the runner says that it has no turn open, and nothing more waits.
        has_more: True where another look will bring more.
        is_blocked: True if nothing can be taken over now, because the host has too much to do or cannot store it.
    """

    queued: Sequence[Delivery] = ()
    refused: Sequence[str] = ()
    requests: Sequence[ActionRequest] = ()
    is_idle: bool = False
    has_more: bool = False
    is_blocked: bool = False


@frozen(kw_only=True)
class OutboxImporter:
    """Takes over the outbound rows of sessions.

    Args:
        check_delivery: The guard; raises Forbidden where a session may not write to a room that is not its own.
        refusal: Returns the reason why a message cannot wait for its room or date, or None. It adds a message that may
            wait to the counter, because the lanes count it only when it is stored.
    """

    db: apsw.Connection
    check_delivery: Callable[[DeliveryRequest], None]
    refusal: Callable[[Delivery, Counter[CountKey]], str | None]
    mailbox: Mailbox

    def look(self, session_id: SessionId) -> ImportResult:
        """Take over what is new of a session, as much as one look takes.

        Raises:
            NeedsItsRunner, apsw.Error, NotARegularFile, WrongProtocol, ValueError: The file cannot be read now; nothing
                was taken.
            CentralDatabaseFailed: Nothing can be stored now; nothing was taken.
        """
        with central():
            session = sessions.get(self.db, session_id)
        if session is None:
            return ImportResult()
        news = self.mailbox.outboxes.news(session_id, session.outbound_seq)
        accepted: Counter[CountKey] = Counter()
        taken = [self._within_limits(self._judged(session, message), accepted) for message in news.messages]
        if news.messages:
            with central(), self.db:
                taken = [self._stored(one) for one in taken]
                sessions.taken_over(self.db, session_id, news.messages[-1].seq)
        _log_refusals(session_id, taken)
        stored = [one for one in taken if isinstance(one, Delivery)]
        return ImportResult(
            queued=[one for one in stored if one.last_error is None],
            refused=[one.last_error for one in stored if one.last_error is not None],
            requests=[one for one in taken if isinstance(one, ActionRequest)],
            is_idle=news.state is not None and news.state.activity is Activity.IDLE and not news.has_more,
            has_more=news.has_more,
        )

    def _judged(self, session: Session, message: OutboundMessage) -> Delivery | ActionRequest | Malformed:
        """Judge one row, without storing it; an action that cannot be read is nothing."""
        if message.kind is not OutKind.ACTION:
            return self._delivery(session, message, self._problem(session, message))
        try:
            request = content.read_request(message.content)
            return evolve(request, correlation_id=self._answered(session, message)[1])
        except Malformed as error:
            return error

    def _within_limits(
        self, judged: Delivery | ActionRequest | Malformed, accepted: Counter[CountKey]
    ) -> Delivery | ActionRequest | Malformed:
        """Fail a message that is one too many for a room that does not work, or for later (I14)."""
        if not isinstance(judged, Delivery) or judged.last_error is not None:
            return judged
        problem = self.refusal(judged, accepted)
        return evolve(judged, status=DeliveryStatus.FAILED, last_error=problem) if problem else judged

    def _stored(self, judged: Delivery | ActionRequest | Malformed) -> Delivery | ActionRequest | Malformed:
        """Store a delivery behind the others, and return it with its position; actions are not stored."""
        if not isinstance(judged, Delivery):
            return judged
        delivery = evolve(judged, position=deliveries.next_position(self.db))
        deliveries.add(self.db, [delivery])
        return delivery

    def _problem(self, session: Session, message: OutboundMessage) -> str | None:
        """Say why a message cannot be sent; None where it can."""
        try:
            content.read_message(message.kind.value, message.content)
            self._check_target(session, message)
            _check_time(message.deliver_after)
        except (Malformed, Forbidden) as error:
            return str(error)
        return None

    def _check_target(self, session: Session, message: OutboundMessage) -> None:
        """Insist that the session may write there: its own conversation, or a room that the vote permits.

        Raises:
            Malformed: The row names no room.
            Forbidden: The room is unknown, or nobody allowed it.
        """
        if not message.channel or not message.room:
            raise Malformed("the message names no room to go to")
        address = Address(message.channel, message.room, message.thread)
        if self._is_own(session, address):
            return
        with central():
            if messaging.find(self.db, address.channel, address.room) is None:
                raise Forbidden("the room is not one that this host knows")
            self.check_delivery(
                DeliveryRequest(session_id=session.id, agent_group_id=session.agent_group_id, address=address)
            )

    def _is_own(self, session: Session, address: Address) -> bool:
        if session.messaging_group_id is not None:
            with central():
                own = messaging.get(self.db, session.messaging_group_id)
            if own is not None and (own.channel, own.room) == (address.channel, address.room):
                return True
        # An agent-shared session answers wherever it was spoken to; the host alone wrote those rows.
        return inbound.latest_from(self.mailbox.inboxes.read(session.id), address.channel, address.room) is not None

    def _delivery(self, session: Session, message: OutboundMessage, problem: str | None) -> Delivery:
        in_reply_to, correlation_id = self._answered(session, message)
        now = clock.now_text()
        return Delivery(
            id=DeliveryId(f"dlv-{session.id}-{message.seq}"),
            position=0,  # set when it is stored
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
        """Return the platform id and the correlation id of the message this one answers, as far as they are known."""
        found = (
            inbound.by_id(self.mailbox.inboxes.read(session.id), message.in_reply_to) if message.in_reply_to else None
        )
        return (found.platform_message_id, found.correlation_id) if found else (None, None)


def _log_refusals(session_id: SessionId, taken: Sequence[Delivery | ActionRequest | Malformed]) -> None:
    """Log the first few refusals of a look, and how many more there are: a sandbox must not fill the log."""
    lines: list[dict[str, object]] = []
    for one in taken:
        if isinstance(one, Malformed):
            lines.append({"reason": str(one), "what": "action"})
        elif isinstance(one, Delivery) and one.last_error is not None:
            lines.append({"reason": one.last_error, "what": "message", "correlation": one.correlation_id})
    for values in lines[:REFUSALS_TOLD]:
        log.warning("outbound row refused", extra={"session": session_id} | values)
    if len(lines) > REFUSALS_TOLD:
        log.warning("more was refused", extra={"session": session_id, "count": len(lines) - REFUSALS_TOLD})


def _check_time(text: str | None) -> None:
    if text is None:
        return
    try:
        clock.from_text(text)
    except ValueError as error:
        raise Malformed(f"deliver_after: {error}") from error
