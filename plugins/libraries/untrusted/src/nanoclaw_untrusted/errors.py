"""The errors that a person can fix."""

from __future__ import annotations

from nanoclaw_wire.errors import NanoclawError


class MigrationError(NanoclawError):
    """A migration failed or touched a foreign object.

    It left nothing behind; earlier steps stay applied.
    """
