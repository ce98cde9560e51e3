"""Notices to people who get no answer from a sandbox.

I12  People read plain words and a reference. The log has the reason under the reference.
"""

from __future__ import annotations

import asyncio
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
PAUSE_S = 60.0  # between two notices with the same text to a room and thread
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
class _SentNotices:
    """The notices of a session: the last text, and the newest message and the time of each text, room and thread."""

    text: str = ""
    is_current: bool = False
    newest: dict[tuple[str | None, ...], tuple[int, float]] = field(factory=dict)


@define(kw_only=True, eq=False)
class Notices:
    """Tells people why they have no answer: each reason once for the messages written until then.

    Further messages get the same text at most once a minute in each room and thread.
    """

    mailbox: Mailbox
    notifier: Notifier
    _sent: dict[SessionId, _SentNotices] = field(factory=dict, init=False)

    def repeat(self, session_id: SessionId) -> None:
        """Note that a person wrote again, so that the same text is sent there once more."""
        if session_id in self._sent:
            self._sent[session_id].is_current = False

    def send(self, session_id: SessionId, text: str, *, reason: str = "") -> None:
        """Send a text to every room and thread with waiting messages.

        A `reason` for the operator is logged under a reference that people read. Without one they read no reference.
        If the text cannot be sent everywhere now, the next call sends the rest.
        """
        sent = self._sent.setdefault(session_id, _SentNotices())
        if sent.is_current and sent.text == text:
            return
        sent.text, sent.is_current, now = text, True, asyncio.get_running_loop().time()
        try:
            waiting = inbound.waiting(self.mailbox.inbox.read(session_id), clock.now_text())
            for key, message in {(text, row.channel, row.room, row.thread): row for row in waiting}.items():
                newest, sent_at = sent.newest.get(key, (0, -PAUSE_S))
                if message.seq > newest and now < sent_at + PAUSE_S:
                    sent.is_current = False
                elif message.seq > newest:
                    notice = f"{text} {_reference(session_id, message, reason)}" if reason else text
                    self.notifier.reply_failure(message, notice)
                    sent.newest[key] = message.seq, now
        except (apsw.Error, NanoclawError, OSError) as error:
            sent.is_current = False
            log.error("notice could not be sent", extra={"session": session_id, "error": str(error)})

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
