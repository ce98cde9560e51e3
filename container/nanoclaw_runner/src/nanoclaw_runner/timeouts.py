"""How long the runner waits for what. Tests bring their own."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from nanoclaw_runner.pending_prompts import SilenceTimeouts
from nanoclaw_runner.recovery import RETRY_DELAYS_S


@frozen(kw_only=True)
class Timeouts:
    """All waiting times, in seconds.

    Args:
        idle_poll_s: Between looks while nothing is open and no bell reaches the runner.
        open_poll_s: The same while a conversation is open.
        bell_poll_s: Between looks while the bell is connected: a safety net for a ring that was lost.
        retry_delays_s: Before each further try of a turn that failed; their number is that of the tries.
        heartbeat_s: Between signs of life while a turn is open or waits for a further try. Below the 6 s after which
            the host no longer shows that the agent is at work.
        provider_silence_s: How long a provider may send no event during a turn before the turn fails. A running tool
            that asked for longer gets that. Long, because a model may think for minutes; the host ends a sandbox
            without a heartbeat after the same time.
        trouble_s: Before people hear of trouble that is still being got over.
        end_s: How long a provider may take at SIGTERM to end its query, before pushes in doubt stay pending.
        abort_s: How long a provider may take to stop at once.
        ncl_answer_s: For the host's answer to a request of `ncl`.
        silence: What settles pushes that may have joined a turn.
    """

    idle_poll_s: float = 1.0
    open_poll_s: float = 0.5
    bell_poll_s: float = 15.0
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S
    heartbeat_s: float = 5.0
    provider_silence_s: float = 30 * 60.0
    trouble_s: float = 10.0
    end_s: float = 1.0
    abort_s: float = 0.4
    ncl_answer_s: float = 30.0
    silence: SilenceTimeouts = field(factory=SilenceTimeouts)
