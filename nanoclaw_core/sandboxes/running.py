"""A running sandbox."""

from __future__ import annotations

from datetime import datetime

from attrs import define, field
from nanoclaw_wire import clock
from nanoclaw_wire.doorbell import DoorbellServer
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM

from nanoclaw_core.descriptors.sandboxes import Sandbox


@define
class Running:
    """A running sandbox.

    Args:
        ending: The reason why the host stops it; empty if it does not.
        counts_as_failure: True if its end counts as a failed try of its claimed messages.
        is_drained: False if its last messages could not be imported.
        ignored: Due messages that the runner had not claimed at the last sweep, with the time of the first sweep that
            saw them unclaimed.
        idle_since: The time since its runner is idle, on the event loop's clock; None while it works.
        is_expired: True if it reached the longest life, so that it stops once it is idle.
    """

    sandbox: Sandbox
    bell: DoorbellServer
    runtime: str
    provider: str
    started_at: datetime = field(factory=clock.now)
    ending: str = ""
    counts_as_failure: bool = True
    is_drained: bool = True
    ignored: dict[str, datetime] = field(factory=dict)
    idle_since: float | None = None
    is_expired: bool = False

    def is_failed_try(self, exit_code: int) -> bool:
        """Return True if its end counts as a failed try; a lack of room does not count."""
        return self.counts_as_failure if self.ending else exit_code not in (0, EXIT_NO_ROOM)
