"""What people are told while no sandbox answers them.

I12  They read plain words and a reference. The log has the reason under the reference.
"""

from __future__ import annotations

import logging

import apsw
from attrs import define, field
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import InboundMessage

from nanoclaw_core.delivery.voice import Voice
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox

log = logging.getLogger(__name__)
KEPT = "Your message is kept, and answered when that is fixed."  # what people expect of a message that was taken (I3)
NOT_NOW = f"The agent cannot be started right now. {KEPT} I keep trying."
WHERE = "The operator finds the reason with `ncl doctor`, or in the log under the reference"


@define(kw_only=True, eq=False)
class Notices:
    """Tells the people of sessions why they have no answer, each reason once."""

    mailbox: Mailbox
    voice: Voice
    _told: dict[SessionId, str] = field(factory=dict, init=False)

    def repeat(self, session_id: SessionId) -> None:
        """Tell the next reason even if it was told before: somebody wrote again."""
        self._told.pop(session_id, None)

    def tell(self, session_id: SessionId, text: str, *, reason: str = "") -> bool:
        """Tell a text in every room and thread whose messages wait.

        Args:
            reason: Words for the operator, which are logged under the reference that people read. Empty: people read no
                reference.

        Returns:
            False if the text could not be told everywhere; telling it later is up to the caller.
        """
        if self._told.get(session_id) == text:
            return True
        try:
            waiting = inbound.waiting(self.mailbox.inboxes.read(session_id), clock.now_text())
            for message in {(one.channel, one.room, one.thread): one for one in waiting}.values():
                self.voice.answer(message, f"{text} {_reference(session_id, message, reason)}" if reason else text)
        except (apsw.Error, NanoclawError, OSError) as error:
            log.error("people could not be told", extra={"session": session_id, "error": str(error)})
            return False
        self._told[session_id] = text
        return True

    def give_up(self, session_id: SessionId, message: InboundMessage) -> None:
        """Tell the people of a message that it is not tried any more.

        Raises:
            CentralDatabaseFailed: They could not be told.
        """
        log.error("message given up", extra={"row": message.id, "tries": message.tries})
        reference = message.correlation_id or message.id
        self.voice.answer(
            message,
            "I am sorry, I could not answer this message: the agent stopped every time it tried. "
            f"Please try again, or tell the operator this reference: {reference}.",
            once_as=f"given-up-{session_id}-{message.seq}",
        )


def _reference(session_id: SessionId, message: InboundMessage, reason: str) -> str:
    reference = message.correlation_id or message.id
    log.warning("message waits", extra={"session": session_id, "correlation": reference, "reason": reason})
    return f"{WHERE} {reference}."
