"""The provider's continuation, kept from one sandbox to the next."""

from __future__ import annotations

from nanoclaw_runner.outbox import Outbox


class Continuation:
    """A provider's handle to resume its conversation.

    Args:
        provider: Its name, in any case.

    Attributes:
        value: The handle; None if the next query starts a new conversation.
    """

    def __init__(self, outbox: Outbox, provider: str) -> None:
        self._outbox, self._key = outbox, f"continuation:{provider.lower()}"
        self.value = outbox.get_state(self._key)

    def save(self, value: str) -> None:
        """Store the handle at once, so that a crash in this turn does not lose the conversation."""
        self._outbox.set_state(self._key, value)
        self.value = value

    def forget(self) -> None:
        """Start a new conversation with the next query."""
        self._outbox.set_state(self._key, None)
        self.value = None
