"""Failed tries of messages, on which sandboxes died, and their limit (⚠42)."""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import InboundMessage, Status

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.sandboxes.health import pause_before_retry
from nanoclaw_core.sandboxes.notices import Notices


@frozen(kw_only=True)
class Tries:
    """Counts the failed tries of messages.

    Args:
        first_pause_s: Seconds before the second try; each further pause doubles.
    """

    mailbox: Mailbox
    notices: Notices
    first_pause_s: float

    async def count(self, session_id: SessionId, *, waited_s: float = 0.0) -> None:
        """Postpone the sandbox's messages.

        After its last try a message fails, and its writer gets a notice.

        Messages younger than `waited_s` seconds are skipped.

        Raises:
            CentralDatabaseFailed: The notice could not be stored; the message is unchanged.
            apsw.Error, OSError: The session's files cannot be read or written.
        """
        claimed = {claim.message_id for claim in self.mailbox.outbox.claims(session_id)}
        waiting = inbound.waiting(self.mailbox.inbox.read(session_id), clock.now_text())
        for message in [message for message in waiting if message.id in claimed] or waiting:
            if (clock.now() - clock.from_text(message.at)).total_seconds() < waited_s:
                continue
            pause_s = pause_before_retry(message.tries, self.first_pause_s)
            if pause_s is None:
                await self._give_up(session_id, message)
            else:
                again_at = clock.to_text(clock.now() + timedelta(seconds=pause_s))
                await self.mailbox.inbox.postpone(
                    session_id, message.id, tries=message.tries + 1, process_after=again_at
                )

    async def _give_up(self, session_id: SessionId, message: InboundMessage) -> None:
        self.notices.send_given_up(session_id, message)
        # Send the notice first: a crash in between must not leave a failed message without one (I4).
        await self.mailbox.inbox.set_status(session_id, [(message.id, Status.FAILED)])
