"""Knows which rows the open conversation still owes an answer, and decides when they are done (⚠6).

The runner gives each push an id. A result names the pushes that its turn took in, and exactly these are settled.
A provider that cannot know names none. Then `PendingPrompts` guesses:

1. Pushes are taken up in the order they were made, and a turn takes up at least the oldest that waits when it begins.
   So a result settles the oldest push, if that was made before its turn began. (A provider may begin a turn of its own
   accord; its result settles nothing that was pushed meanwhile.)
2. A push that waited when a tool of the turn ended has joined the turn, and is settled with it.
3. Any other push that was made before the result is in doubt: the model may have read it, or may give it a turn of its
   own. A later result settles it, or silence: a provider that has something left to do shows a sign of life within
   `SILENCE_S`, and one that showed it works no longer than `LONG_SILENCE_S` without another.

Until settled, a row is claimed and nothing more. A crash therefore at worst makes the model see a row twice; it never
loses one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from attrs import evolve, field, frozen
from nanoclaw_wire.inbound import Destination, InboundMessage

SILENCE_S = 5.0  # a queued turn begins within milliseconds; a loaded machine gets a thousand times that
LONG_SILENCE_S = 45.0  # a turn that began is announced by an event, so the model's thinking needs no time of its own


def new_push_id() -> str:
    """Return a UUID as text; some SDKs take nothing else as the id of a prompt."""
    return str(uuid.uuid4())


@frozen(kw_only=True, eq=False)
class Prompt:
    """Something the model was told.

    Args:
        rows: What it was told, oldest first.
        left_out: Rows that are settled with them.
        is_raw: True for a slash command that the provider got as it was typed.
        is_correction: True where the model was told that it reached nobody; the rows are those of the turn before.
        failures: How many turns over these rows failed and were tried again.
        is_anew: True where the rows are tried again without the continuation.
        destinations: The names that its prompt is written with; its turn means these (I15).
        id: Names this one telling. A further try has another: a provider may skip an id that it has seen.
    """

    rows: tuple[InboundMessage, ...]
    left_out: tuple[InboundMessage, ...] = ()
    is_raw: bool = False
    is_correction: bool = False
    failures: int = 0
    is_anew: bool = False
    destinations: tuple[Destination, ...] = ()
    id: str = field(factory=new_push_id)

    @property
    def message_ids(self) -> list[str]:
        """The ids of all rows that are settled together."""
        return [row.id for row in (*self.left_out, *self.rows)]

    @property
    def correlation_id(self) -> str:
        """Follows the turn through the log: that of the first message, or its id."""
        return self.rows[0].correlation_id or self.rows[0].id

    def as_correction(self) -> Prompt:
        """Return the push that tells the model about its missing block; it answers for the same rows."""
        return evolve(self, is_correction=True)


def rows_of(pushes: Iterable[Prompt]) -> list[InboundMessage]:
    """Return the rows that these pushes told, oldest first."""
    return sorted((row for push in pushes for row in push.rows), key=lambda row: row.seq)


def merge(pushes: Sequence[Prompt]) -> Prompt:
    """Return one push over the rows of all; there is at least one."""
    if len(pushes) == 1:
        return pushes[0]
    return Prompt(
        rows=tuple(rows_of(pushes)),
        left_out=tuple(row for push in pushes for row in push.left_out),
        is_correction=all(push.is_correction for push in pushes),
        failures=max(push.failures for push in pushes),
        is_anew=any(push.is_anew for push in pushes),
        destinations=pushes[-1].destinations,
    )


@frozen(kw_only=True)
class SilenceTimeouts:
    """How long a provider may be silent before what is in doubt counts as done, in seconds."""

    idle_s: float = field(default=SILENCE_S)
    stirred_s: float = field(default=LONG_SILENCE_S)


class PendingPrompts:
    """The pushes of the open conversation, oldest first. All times are those of one monotonic clock, in seconds."""

    def __init__(self, silence: SilenceTimeouts | None = None) -> None:
        self._silence = silence or SilenceTimeouts()
        self._waiting: list[Prompt] = []
        self._eligible: int | None = None  # how many waited when the running turn began; None while none is known
        self._named: frozenset[str] = frozenset()  # the pushes of the running turn, if the provider said so
        self._joined: frozenset[str] = frozenset()  # the pushes that a tool's end brought into the turn: a guess
        self._is_guessed = False  # the last result named nothing
        self._is_stirred = self._is_interrupted = False
        self._heard_at = 0.0
        self._told: dict[str, Destination] = {}  # by name, of all pushes: the model may remember each
        self.has_spoken = False  # a tool sent something in the running turn

    @property
    def answering(self) -> list[Prompt]:
        """The pushes that the running turn has taken in so far, oldest first, as far as is known."""
        if self._named:
            return self._with_ids(self._named)
        oldest = [] if self._eligible == 0 else self._waiting[:1]
        return [push for push in self._waiting if push in oldest or push.id in self._joined]

    @property
    def is_running(self) -> bool:
        """True while a turn is known to run: one whose push or first tool was seen and whose result was not."""
        return self._eligible is not None

    @property
    def is_settled(self) -> bool:
        """True while nobody waits for an answer."""
        return not self._waiting

    @property
    def is_in_doubt(self) -> bool:
        """True while no turn runs and pushes wait of which the provider cannot say whether it answered them."""
        return bool(self._waiting) and self._is_guessed and not self.is_running

    def destinations(self, pushes: Iterable[Prompt]) -> list[Destination]:
        """Return the names that a turn over these pushes may use: those of its own prompts before those of all others.

        A turn that a provider begins by itself has no prompt. It means the names that were told last.
        """
        own = {one.name: one for push in pushes for one in push.destinations}
        return list((self._told | own).values())

    def pushed(self, push: Prompt, now: float) -> None:
        """Note that the model was told something."""
        self._waiting.append(push)
        self._told |= {one.name: one for one in push.destinations}
        self._heard_at = now
        self._begin()

    def heard(self, now: float, *, begins_turn: bool) -> None:
        """Note a sign of life.

        Args:
            begins_turn: True for an event that only a running turn can cause.
        """
        self._heard_at = now
        self._is_stirred = True
        if begins_turn:
            self._begin()

    def took_in(self, push_ids: Iterable[str]) -> None:
        """Note the pushes that the provider says the running turn has taken in."""
        self._named |= frozenset(push_ids)

    def tool_ended(self) -> None:
        """Note that a tool ended: a model reads with its result whatever was pushed until then."""
        if not self._is_interrupted:  # the turn ends then, and its model reads nothing more
            self._joined = frozenset(push.id for push in self._waiting)

    def interrupted(self) -> None:
        """Note that the running turn was told to stop."""
        self._is_interrupted = self.is_running

    def ended(self, now: float, answers: Sequence[str] | None) -> list[Prompt]:
        """Note a result; take out and return the pushes that it answered, oldest first.

        Args:
            answers: The ids that the result names; None makes the pending guess.
        """
        # A turn that nothing announced can only be that of a push in doubt: a push while none runs announces its own.
        settled = self.answering if answers is None else self._with_ids(answers)
        self._waiting = [push for push in self._waiting if push not in settled]
        self._is_guessed = answers is None
        self._forget_turn()
        self._heard_at = now
        return settled

    def failed(self, answers: Sequence[str] | None) -> Prompt | None:
        """Return what a failed turn was about, as one push; None if it was nobody's. Nothing is taken out.

        A guess names the oldest push alone: the others are told again and lose nothing by it. A raw command cannot be
        told together with others.
        """
        pushes = self.answering[:1] if answers is None else self._with_ids(answers)
        if any(push.is_raw for push in pushes):
            pushes = pushes[:1]
        return merge(pushes) if pushes else None

    def silence_ends_at(self) -> float | None:
        """Return when silence settles what is in doubt; None if nothing is."""
        if not self.is_in_doubt:
            return None
        return self._heard_at + (self._silence.stirred_s if self._is_stirred else self._silence.idle_s)

    def settle_by_silence(self, now: float) -> list[Prompt]:
        """Take out and return what was in doubt, where the silence lasted long enough."""
        ends_at = self.silence_ends_at()
        return self.close() if ends_at is not None and now >= ends_at else []

    def close(self) -> list[Prompt]:
        """Forget the conversation, and return what was never settled, oldest first."""
        unsettled, self._waiting = self._waiting, []
        self._is_guessed = False
        self._forget_turn()
        return unsettled

    def _with_ids(self, push_ids: Iterable[str]) -> list[Prompt]:
        wanted = set(push_ids)
        return [push for push in self._waiting if push.id in wanted]

    def _begin(self) -> None:
        if self._eligible is None:
            self._eligible = len(self._waiting)

    def _forget_turn(self) -> None:
        self._eligible = None
        self._named = self._joined = frozenset()
        self._is_stirred = self._is_interrupted = self.has_spoken = False
