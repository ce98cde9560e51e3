"""The runner's timeouts and intervals. Tests pass their own."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from nanoclaw_wire.config import TURN_PAUSES_S

from nanoclaw_runner.pending_prompts import SilenceTimeouts


@frozen(kw_only=True)
class Timeouts:
    """All timeouts and intervals, in seconds.

    Args:
        idle_poll_s: The interval of polls while no query is open and the doorbell is not connected.
        open_poll_s: The same while a query is open.
        bell_poll_s: The longest interval of polls while the doorbell is connected, in case a ring was lost.
        turn_pauses_s: The pause before each retry of a failed turn.
        heartbeat_s: The interval of heartbeats while a turn is open or waits for its retry. It is below the 6 s after
            which the host stops the typing indicator.
        provider_silence_s: The time without an event of the provider after which its turn fails, unless a running tool
            asked for more. It is long because a model may think for minutes. The host ends a sandbox without a
            heartbeat after the same time.
        trouble_s: The duration of an outage after which people learn of it.
        end_s: The time that a provider gets at SIGTERM to end its query, before prompts in doubt stay pending.
        abort_s: The time that a provider gets to stop at once.
        ncl_answer_s: The time that the host gets to answer a request of `ncl`.
        silence: The timeouts that settle prompts in doubt.
    """

    idle_poll_s: float = 1.0
    open_poll_s: float = 0.5
    bell_poll_s: float = 15.0
    turn_pauses_s: Sequence[float] = TURN_PAUSES_S
    heartbeat_s: float = 5.0
    provider_silence_s: float = 30 * 60.0
    trouble_s: float = 10.0
    end_s: float = 1.0
    abort_s: float = 0.4
    ncl_answer_s: float = 30.0
    silence: SilenceTimeouts = field(factory=SilenceTimeouts)
