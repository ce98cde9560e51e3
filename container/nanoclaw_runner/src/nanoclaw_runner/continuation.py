"""The provider's conversation, kept from one sandbox to the next: one per provider."""

from __future__ import annotations

from nanoclaw_runner.outbox import Outbox


class Continuation:
    """What resumes a provider's conversation.

    Args:
        provider: Its name; upper and lower case are the same.
    """

    def __init__(self, outbox: Outbox, provider: str) -> None:
        self._outbox, self._key = outbox, f"continuation:{provider.lower()}"
        self._value = outbox.recall(self._key)

    @property
    def value(self) -> str | None:
        """The continuation, or None where the next query starts anew."""
        return self._value

    def keep(self, value: str) -> None:
        """Store it at once, so that a crash in this turn does not lose the conversation."""
        if value != self._value:
            self._outbox.remember(self._key, value)
            self._value = value

    def forget(self) -> None:
        """Start anew with the next query."""
        self._outbox.remember(self._key, None)
        self._value = None
