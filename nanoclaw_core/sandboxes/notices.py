"""What people are sent while no sandbox answers them.

I12  They read plain words and a reference. The log has the reason under the reference.
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

log = logging.getLogger(__name__)
MESSAGE_KEPT = (
    "Your message is kept, and answered when that is fixed."  # what people expect of a message that was taken (I3)
)
NOT_NOW = f"The agent cannot be started right now. {MESSAGE_KEPT} I keep trying."
ALL_BUSY = "All agents are busy with other conversations. Your message is kept, and answered when one of them is free."
REFERENCE_HINT = "The operator finds the reason with `ncl doctor`, or in the log under the reference"


@define
class _SentNotice:
    """Record the last text of a session, and the newest message of each room and thread that has read it."""

    text: str
    is_current: bool = True
    newest: dict[tuple[str | None, ...], int] = field(factory=dict)


@define(kw_only=True, eq=False)
class Notices:
    """Tells the people of sessions why they have no answer, each reason once for what they wrote until then."""

    mailbox: Mailbox
    notifier: Notifier
    _sent: dict[SessionId, _SentNotice] = field(factory=dict, init=False)

    def repeat(self, session_id: SessionId) -> None:
        """Note that a person wrote again: the same text is sent once more where that was."""
        if session_id in self._sent:
            self._sent[session_id].is_current = False

    def send(self, session_id: SessionId, text: str, *, reason: str = "") -> bool:
        """Tell a text in every room and thread whose messages wait.

        Args:
            reason: Words for the operator, which are logged under the reference that people read. Empty: people read no
                reference.

        Returns:
            False if the text could not be sent everywhere; telling it later is up to the caller.
        """
        sent = self._sent.get(session_id)
        if sent is None or sent.text != text:
            sent = _SentNotice(text, is_current=False)
        if sent.is_current:
            return True
        try:
            waiting = inbound.waiting(self.mailbox.inbox.read(session_id), clock.now_text())
            for place, message in {(one.channel, one.room, one.thread): one for one in waiting}.items():
                if message.seq > sent.newest.get(place, 0):
                    self.notifier.reply_failure(
                        message, f"{text} {_reference(session_id, message, reason)}" if reason else text
                    )
                    sent.newest[place] = message.seq
        except (apsw.Error, NanoclawError, OSError) as error:
            log.error("people could not be sent", extra={"session": session_id, "error": str(error)})
            return False
        sent.is_current = True
        self._sent[session_id] = sent
        return True

    def send_given_up(self, session_id: SessionId, message: InboundMessage) -> None:
        """Tell the people of a message that it is not tried any more.

        Raises:
            CentralDatabaseFailed: They could not be sent.
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
