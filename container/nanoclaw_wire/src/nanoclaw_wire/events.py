"""What a provider reports while it answers. Every event counts as a sign of life."""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class ErrorClass(str, Enum):
    """What kind of trouble a provider met; the runner chooses the words for people from it."""

    AUTHENTICATION = "authentication"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    REFUSED = "refused"
    CONNECTION = "connection"
    STALE_CONTINUATION = "stale-continuation"
    INTERNAL = "internal"


@frozen(kw_only=True)
class Init:
    """A turn began; `continuation` resumes the conversation later.

    Send one at the beginning of each turn, before the model is asked. A turn that the runner does not know of counts as
    over after 45 s without an event.
    """

    continuation: str


@frozen(kw_only=True)
class Result:
    """A turn ended. `text` is the model's last word, None where the turn had none."""

    text: str | None


@frozen(kw_only=True)
class Error:
    """The turn failed.

    Args:
        message: For the log, not for people.
        retryable: True where the same prompt may work later.
        kind: See `ErrorClass`.
    """

    message: str
    retryable: bool
    kind: ErrorClass = ErrorClass.INTERNAL


@frozen(kw_only=True)
class Progress:
    """Something worth a log line happened (a retry, a compaction); the turn goes on.

    Args:
        trouble: What kind of trouble the turn is trying to get over by itself; None where it is none. People hear of
            one that lasts.
    """

    message: str
    trouble: ErrorClass | None = None


@frozen(kw_only=True)
class Alive:
    """Something happened; nothing but a sign of life."""


@frozen(kw_only=True)
class ToolStarted:
    """The model runs a tool; `timeout_s` is what the call asked for in seconds, or None."""

    tool: str
    timeout_s: float | None = None


@frozen(kw_only=True)
class ToolEnded:
    """The tool ended, well or badly."""

    tool: str


@frozen(kw_only=True)
class Usage:
    """What a turn used. Counts are tokens; `cost_usd` is None where the provider does not say."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None
    model: str | None = None


Event = Init | Result | Error | Progress | Alive | ToolStarted | ToolEnded | Usage
