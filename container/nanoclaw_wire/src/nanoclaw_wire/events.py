"""What a provider reports while it answers. Every event counts as a sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import field, frozen


class ErrorClass(str, Enum):
    """What kind of trouble a provider met; the runner chooses the words for people from it.

    EXHAUSTED says that the machine has no room, descriptors or memory, or that its disk does not work. Its messages are
    tried again by a later runner, without a limit; so it must not rest on words that the model can choose.
    """

    AUTHENTICATION = "authentication"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    REFUSED = "refused"
    CONNECTION = "connection"
    STALE_CONTINUATION = "stale-continuation"
    EXHAUSTED = "exhausted"
    INTERNAL = "internal"


@frozen(kw_only=True)
class Init:
    """A turn began; `continuation` resumes the conversation later.

    Send one at the beginning of each turn, before the model is asked. A turn that the runner does not know of counts as
    over after 45 s without an event, if the results of the provider name no pushes.
    """

    continuation: str


def _as_tuple(answers: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if answers is None else tuple(answers)


@frozen(kw_only=True)
class TookIn:
    """The running turn has taken in these pushes so far.

    Send one if the provider knows, as soon as it knows. A tool that sends a message then answers these pushes.

    Args:
        pushes: The ids of all pushes that the turn has taken in, in their order.
    """

    pushes: Sequence[str] = field(converter=tuple)


@frozen(kw_only=True)
class Result:
    """A turn ended.

    Args:
        text: The model's last word; None if the turn had none.
        answers: The ids of the pushes that the turn took in, in their order. Empty if the provider began the turn by
            itself; None if it cannot know. Name a push in one outcome: the runner then settles it.
    """

    text: str | None
    answers: Sequence[str] | None = field(default=None, converter=_as_tuple)


@frozen(kw_only=True)
class Error:
    """The turn failed.

    Args:
        message: For the log, not for people.
        retryable: True where the same prompt may work later.
        kind: See `ErrorClass`.
        answers: The ids of the pushes that the turn took in, as in `Result`. The runner tries these again, or tells
            people that they failed.
    """

    message: str
    retryable: bool
    kind: ErrorClass = ErrorClass.INTERNAL
    answers: Sequence[str] | None = field(default=None, converter=_as_tuple)


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


Event = Init | TookIn | Result | Error | Progress | Alive | ToolStarted | ToolEnded | Usage
