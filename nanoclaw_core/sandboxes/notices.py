"""Notices to people who get no answer from a sandbox.

I12  People read plain words and a reference. The log has the reason under the reference.
"""

from __future__ import annotations

import logging

import apsw
from attrs import define, field
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import InboundMessage

from nanoclaw_core.delivery.notifier import Notifier
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.sandboxes.claims import WaitReason

log = logging.getLogger(__name__)
MESSAGE_KEPT = "Your message is kept and will be answered once this is fixed."  # an accepted message must be kept (I3)
NOT_NOW = f"The agent cannot be started right now. {MESSAGE_KEPT} I keep trying."
WAITING = {
    WaitReason.ALL: "All agents are busy with other conversations.",
    WaitReason.PERSON: "I already work on {share} conversations with you, which is as many as I take from one person.",
    WaitReason.ROOM: "I am busy with other conversations of this room.",
    WaitReason.GROUP: "I am busy with other conversations.",
}
ONCE_FREE = "Your message is kept and will be answered once one of them has ended."
REFERENCE_HINT = "The operator finds the reason with `ncl doctor`, or in the log under the reference"


def waiting_text(reason: WaitReason, share: int) -> str:
    """Return the notice to people whose conversation waits for a slot."""
    return f"{WAITING[reason].format(share=share)} {ONCE_FREE}"


@define
class _SentNotice:
    """The last notice of a session, with the newest message of each room and thread that got it."""

    text: str
    is_current: bool = True
    newest: dict[tuple[str | None, ...], int] = field(factory=dict)


@define(kw_only=True, eq=False)
class Notices:
    """Tells people why they have no answer: each reason once for the messages written until then."""

    mailbox: Mailbox
    notifier: Notifier
    _sent: dict[SessionId, _SentNotice] = field(factory=dict, init=False)

    def repeat(self, session_id: SessionId) -> None:
        """Note that a person wrote again, so that the same text is sent there once more."""
        if session_id in self._sent:
            self._sent[session_id].is_current = False

    def send(self, session_id: SessionId, text: str, *, reason: str = "") -> bool:
        """Send a text to every room and thread with waiting messages.

        A `reason` for the operator is logged under a reference that people read. Without one they read no reference.

        Returns:
            False if the text could not be sent everywhere; the caller may send it again later.
        """
        sent = self._sent.get(session_id)
        if sent is None or sent.text != text:
            sent = _SentNotice(text, is_current=False)
        if sent.is_current:
            return True
        try:
            waiting = inbound.waiting(self.mailbox.inbox.read(session_id), clock.now_text())
            for address, message in {(row.channel, row.room, row.thread): row for row in waiting}.items():
                if message.seq > sent.newest.get(address, 0):
                    self.notifier.reply_failure(
                        message, f"{text} {_reference(session_id, message, reason)}" if reason else text
                    )
                    sent.newest[address] = message.seq
        except (apsw.Error, NanoclawError, OSError) as error:
            log.error("notice could not be sent", extra={"session": session_id, "error": str(error)})
            return False
        sent.is_current = True
        self._sent[session_id] = sent
        return True

    def send_given_up(self, session_id: SessionId, message: InboundMessage) -> None:
        """Tell the writer of a message that it will not be tried again.

        Raises:
            CentralDatabaseFailed: The notice could not be stored.
        """
        log.error("message given up", extra={"row": message.id, "tries": message.tries})
        reference = message.correlation_id or message.id
        self.notifier.reply_failure(
            message,
            "I am sorry, I could not answer this message: the agent stopped every time it tried. "
            f"Please try again, or tell the operator this reference: {reference}.",
            dedup_key=f"given-up-{session_id}-{message.seq}",
        )


def _reference(session_id: SessionId, message: InboundMessage, reason: str) -> str:
    reference = message.correlation_id or message.id
    log.warning("message waits", extra={"session": session_id, "correlation": reference, "reason": reason})
    return f"{REFERENCE_HINT} {reference}."
