"""Tracks the prompts that the open query still has to answer, and decides when each is settled (⚠6).

Each prompt has an id. A result names the prompts that its turn took in, and exactly these are settled. If the provider
cannot know them, the result names none. Then `PendingPrompts` guesses:

1. The provider takes in prompts in the order of the pushes, and a turn takes in at least the oldest prompt that waits
   when the turn begins. So a result settles the oldest prompt if it was pushed before the turn began. (A provider may
   begin a turn by itself; its result settles no prompt that was pushed meanwhile.)
2. A prompt that waited when a tool of the turn ended has joined the turn, and is settled with it.
3. Any other prompt that was pushed before the result is in doubt: the model may have read it, or may give it a turn of
   its own. A later result settles it, or silence: a provider with work left shows a sign of life within `SILENCE_S`,
   and after one it works no longer than `LONG_SILENCE_S` without another.

Until it is settled, a row is only claimed. So a crash at worst shows a row to the model twice, and never loses one.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence

from attrs import field, frozen
from nanoclaw_wire.events import Event, Init, Progress, TookIn, ToolEnded, ToolStarted, Usage
from nanoclaw_wire.inbound import Destination

from nanoclaw_runner.content import InboxRow

SILENCE_S = 5.0  # a queued turn begins within milliseconds; a loaded machine gets a thousand times that
LONG_SILENCE_S = 45.0  # an event announces a turn, so the time that the model thinks does not count


def new_push_id() -> str:
    """Return a UUID as text; some SDKs accept only a UUID as the id of a prompt."""
    return str(uuid.uuid4())


@frozen(kw_only=True, eq=False)
class Prompt:
    """Rows that the model reads together.

    Args:
        rows: Oldest first.
        omitted: Rows that the model does not read and that are settled with the others.
        is_raw: True for a slash command that the provider gets as typed.
        is_correction: True if the prompt says that the last turn delivered nothing; `rows` are those of that turn.
        failures: How many turns over these rows failed and were retried.
        without_continuation: True if a turn over these rows failed because the provider did not know the continuation.
        destinations: The names that the prompt is written with. Its turn uses these (I15).
        id: Names this push. A retry has another id: a provider may skip an id that it knows.

    Attributes:
        message_ids: The ids of all rows that are settled together.
        correlation_id: That of the first row, or its id; it follows the turn through the log.
    """

    rows: tuple[InboxRow, ...]
    omitted: tuple[InboxRow, ...] = ()
    is_raw: bool = False
    is_correction: bool = False
    failures: int = 0
    without_continuation: bool = False
    destinations: tuple[Destination, ...] = ()
    id: str = field(factory=new_push_id)
    message_ids: tuple[str, ...] = field(init=False)
    correlation_id: str = field(init=False)

    @message_ids.default
    def _message_ids(self) -> tuple[str, ...]:
        return tuple(row.id for row in (*self.omitted, *self.rows))

    @correlation_id.default
    def _correlation_id(self) -> str:
        return next((row.correlation_id or row.id for row in self.rows), "")


@frozen(kw_only=True)
class EndedTurn:
    """A turn that ended with a result.

    Args:
        prompts: The prompts that its result answers, oldest first.
        rows: The rows that the model read in these prompts, oldest first.
        destinations: The names that the turn may use.
        raw: The slash command among the prompts; None if there is none.
        may_be_corrected: True if the model may be asked to answer again. False for a turn without a prompt, for a
            correction, and for a slash command.
        has_spoken: True if a tool sent a message in the turn.
        others_wait: True if other prompts still wait for an answer.
    """

    prompts: Sequence[Prompt]
    rows: Sequence[InboxRow]
    destinations: Sequence[Destination]
    raw: Prompt | None
    may_be_corrected: bool
    has_spoken: bool
    others_wait: bool


def rows_of(prompts: Iterable[Prompt]) -> list[InboxRow]:
    """Return the rows that the model read in these prompts, oldest first."""
    return sorted((row for prompt in prompts for row in prompt.rows), key=lambda row: row.seq)


def merge(prompts: Sequence[Prompt]) -> Prompt:
    """Return one prompt over the rows of all; `prompts` must not be empty."""
    if len(prompts) == 1:
        return prompts[0]
    return Prompt(
        rows=tuple(rows_of(prompts)),
        omitted=tuple(row for prompt in prompts for row in prompt.omitted),
        is_correction=all(prompt.is_correction for prompt in prompts),
        failures=max(prompt.failures for prompt in prompts),
        without_continuation=any(prompt.without_continuation for prompt in prompts),
        destinations=prompts[-1].destinations,
    )


@frozen(kw_only=True)
class SilenceTimeouts:
    """The seconds of silence after which a prompt in doubt counts as answered.

    Args:
        idle_s: If the provider showed no sign of life since the last result.
        active_s: If it showed one.
    """

    idle_s: float = field(default=SILENCE_S)
    active_s: float = field(default=LONG_SILENCE_S)


class PendingPrompts:
    """The unsettled prompts of the open query, oldest first. All times are seconds of one monotonic clock."""

    def __init__(self, silence: SilenceTimeouts | None = None) -> None:
        self._silence = silence or SilenceTimeouts()
        self._waiting: list[Prompt] = []
        self._eligible: int | None = None  # how many waited when the running turn began; None if no turn is known
        self._named: frozenset[str] = frozenset()  # ids of the running turn's prompts, if the provider named them
        self._joined: frozenset[str] = frozenset()  # ids that a tool's end brought into the turn: a guess
        self._is_guessed = False  # the last result named no prompts
        self._is_active = self._is_interrupted = False
        self._heard_at = 0.0
        self._destinations: dict[str, Destination] = {}  # of all prompts, by name: the model may remember each
        self.has_spoken = False  # a tool sent a message in the running turn

    @property
    def answering(self) -> list[Prompt]:
        """The prompts that the running turn has taken in so far, as far as is known; oldest first."""
        if self._named:
            return self._with_ids(self._named)
        oldest = [] if self._eligible == 0 else self._waiting[:1]
        return [prompt for prompt in self._waiting if prompt in oldest or prompt.id in self._joined]

    @property
    def is_running(self) -> bool:
        """True from the push or the first tool of a turn to its result."""
        return self._eligible is not None

    @property
    def is_settled(self) -> bool:
        """True if no prompt waits for an answer."""
        return not self._waiting

    @property
    def is_open(self) -> bool:
        """True while a turn runs or a prompt waits for an answer."""
        return self.is_running or not self.is_settled

    @property
    def is_in_doubt(self) -> bool:
        """True if no turn runs, and the provider cannot know whether it answered the prompts that wait."""
        return bool(self._waiting) and self._is_guessed and not self.is_running

    def destinations(self, prompts: Iterable[Prompt]) -> list[Destination]:
        """Return the names that a turn over these prompts may use. Its own prompts override all others.

        A turn that a provider begins by itself has no prompt. It uses the names of the last prompt.
        """
        own = {destination.name: destination for prompt in prompts for destination in prompt.destinations}
        return list((self._destinations | own).values())

    def pushed(self, prompt: Prompt, now: float) -> None:
        """Add a prompt that the provider gets."""
        self._waiting.append(prompt)
        self._destinations |= {destination.name: destination for destination in prompt.destinations}
        self._heard_at = now
        self._begin_turn()

    def heard(self, event: Event, now: float) -> None:
        """Update the running turn by an event of the provider that is not its result."""
        if isinstance(event, Usage | Progress):
            return
        self._heard_at = now
        self._is_active = True
        if isinstance(event, Init | TookIn | ToolStarted | ToolEnded):  # only a running turn sends these
            self._begin_turn()
        if isinstance(event, TookIn):
            self._named |= frozenset(event.pushes)
        if isinstance(event, ToolEnded) and not self._is_interrupted:  # an interrupted turn reads nothing more
            self._joined = frozenset(prompt.id for prompt in self._waiting)

    def interrupted(self) -> None:
        """Mark the running turn as interrupted."""
        self._is_interrupted = self.is_running

    def ended(self, now: float, answers: Sequence[str] | None) -> EndedTurn:
        """End the turn, and remove the prompts that its result answers.

        `answers` has the ids that the result names; None if the provider cannot know them.
        """
        # A turn that no event announced can only be about a prompt in doubt: any other push announces its own turn.
        settled = self.answering if answers is None else self._with_ids(answers)
        self._waiting = [prompt for prompt in self._waiting if prompt not in settled]
        raw = next((prompt for prompt in settled if prompt.is_raw), None)
        turn = EndedTurn(
            prompts=settled,
            rows=rows_of(settled),
            destinations=self.destinations(settled),
            raw=raw,
            may_be_corrected=raw is None and not all(prompt.is_correction for prompt in settled),
            has_spoken=self.has_spoken,
            others_wait=bool(self._waiting),
        )
        self._is_guessed = answers is None
        self._forget_turn()
        self._heard_at = now
        return turn

    def failed(self, answers: Sequence[str] | None) -> Prompt | None:
        """Return the prompts of a failed turn as one, or None if it had none. Nothing is removed.

        Without `answers` it returns the oldest prompt alone: the others are pushed again, which loses nothing. It
        returns a raw command alone, because the provider accepts a command only by itself.
        """
        prompts = self.answering[:1] if answers is None else self._with_ids(answers)
        if any(prompt.is_raw for prompt in prompts):
            prompts = prompts[:1]
        return merge(prompts) if prompts else None

    def silence_ends_at(self) -> float | None:
        """Return when silence settles the prompts in doubt; None if none is in doubt."""
        if not self.is_in_doubt:
            return None
        return self._heard_at + (self._silence.active_s if self._is_active else self._silence.idle_s)

    def settles_earliest_at(self, now: float) -> float:
        """Return the earliest time at which silence can settle a prompt; infinity if no prompt waits."""
        if self.is_settled:
            return math.inf
        ends_at = self.silence_ends_at()
        return now + self._silence.idle_s if ends_at is None else ends_at

    def settle_by_silence(self, now: float) -> list[Prompt]:
        """Remove and return the prompts in doubt if the silence has lasted long enough."""
        ends_at = self.silence_ends_at()
        return self.close() if ends_at is not None and now >= ends_at else []

    def close(self) -> list[Prompt]:
        """End the query; return the prompts that were never settled, oldest first."""
        unsettled, self._waiting = self._waiting, []
        self._is_guessed = False
        self._forget_turn()
        return unsettled

    def _with_ids(self, push_ids: Iterable[str]) -> list[Prompt]:
        wanted = set(push_ids)
        return [prompt for prompt in self._waiting if prompt.id in wanted]

    def _begin_turn(self) -> None:
        if self._eligible is None:
            self._eligible = len(self._waiting)

    def _forget_turn(self) -> None:
        self._eligible = None
        self._named = self._joined = frozenset()
        self._is_active = self._is_interrupted = self.has_spoken = False
