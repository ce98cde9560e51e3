"""The events that a provider reports while it answers. Every event counts as a sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import field, frozen
from attrs.converters import optional


class ErrorClass(str, Enum):
    """Class of a provider's error. The runner chooses the text for people by it.

    EXHAUSTED means that the machine has no space, descriptors or memory, or that its disk fails. A later runner retries
    such messages without a limit, so never derive this class from text that the model can choose.
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
    """The start of a turn. `continuation` resumes the conversation later.

    Send one at the beginning of each turn, before the call of the model. If the provider's results name no pushes, the
    runner takes a turn that it does not know of for ended after 45 s without an event.
    """

    continuation: str


@frozen(kw_only=True)
class TookIn:
    """The pushes that the running turn has taken in so far.

    Send one as soon as the provider knows them, if it can. A tool that sends a message then answers these pushes.

    Args:
        pushes: The ids of all pushes that the turn has taken in, in order.
    """

    pushes: Sequence[str] = field(converter=tuple)


@frozen(kw_only=True)
class Result:
    """The end of a turn.

    Args:
        text: The model's final text; None if the turn produced none.
        answers: The ids of the pushes that the turn took in, in order. Empty if the provider began the turn by itself;
            None if it cannot know. Name each push in one outcome only, because the runner settles the push then.
    """

    text: str | None
    answers: Sequence[str] | None = field(default=None, converter=optional(tuple[str, ...]))


@frozen(kw_only=True)
class Error:
    """The failure of a turn.

    Args:
        message: Text for the log, not for people.
        retryable: True if the same prompt may work later.
        kind: See `ErrorClass`.
        answers: The ids of the pushes that the turn took in, as in `Result`. The runner retries them, or tells people
            that they failed.
    """

    message: str
    retryable: bool
    kind: ErrorClass = ErrorClass.INTERNAL
    answers: Sequence[str] | None = field(default=None, converter=optional(tuple[str, ...]))


@frozen(kw_only=True)
class Progress:
    """An event worth a log line, such as a retry or a compaction. The turn goes on.

    Args:
        message: Text for the log.
        error: The class of the error that the turn retries by itself; None if there is no error. If it lasts, the
            runner tells people.
    """

    message: str
    error: ErrorClass | None = None


@frozen(kw_only=True)
class Alive:
    """A sign of life, and nothing else."""


@frozen(kw_only=True)
class ToolStarted:
    """The start of a tool call. `timeout_s` is the timeout that the call sets, in seconds, or None."""

    tool: str
    timeout_s: float | None = None


@frozen(kw_only=True)
class ToolEnded:
    """The end of a tool call, with or without success."""

    tool: str


@frozen(kw_only=True)
class Usage:
    """The tokens that a turn used. `cost_usd` is None if the provider does not report it."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None
    model: str | None = None


Event = Init | TookIn | Result | Error | Progress | Alive | ToolStarted | ToolEnded | Usage
