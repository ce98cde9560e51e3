"""A sandbox that runs."""

from __future__ import annotations

from datetime import datetime

from attrs import define, field
from nanoclaw_wire import clock
from nanoclaw_wire.doorbell import DoorbellServer
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM

from nanoclaw_core.descriptors.sandboxes import Sandbox


@define
class Running:
    """A sandbox that runs.

    Args:
        ending: Why the host ends it; empty while it does not.
        counts_as_failure: True where its end counts as a failed try of what it was working on.
        is_drained: False where the last look at what it wrote failed.
        ignored: Messages it had not taken at the last sweep, with the time of the first one that found them so.
        idle_since: When its runner said that it has nothing to do, by the event loop's clock; None while it works.
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

    def is_failed_try(self, exit_code: int) -> bool:
        """Return True if its end is a failed try of what it worked on; a machine without room is no fault of that."""
        return self.counts_as_failure if self.ending else exit_code not in (0, EXIT_NO_ROOM)
