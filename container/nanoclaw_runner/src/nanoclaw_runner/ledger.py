"""Knows which rows the open conversation still owes an answer, and decides when they are done (⚠6).

What is pushed while the model streams becomes a turn of its own; what is pushed while a tool runs joins the running
turn, and then one result answers two pushes. From outside nobody can tell which it was, so results are never counted
off against messages. The rule:

1. Pushes are taken up in the order they were made, and a turn takes up at least the oldest that waits when it begins.
   So a result settles the oldest push, if that was made before its turn began, and only that one. (A provider may begin
   a turn of its own accord; its result settles nothing that was pushed meanwhile.)
2. Any other push that was made before the result may be answered by it, or may be about to get its own turn. It is in
   doubt, and settled by a later result (rule 1) or by silence: a provider that has something left to do shows a sign of
   life within `SILENCE_S`, and one that showed it works no longer than `LONG_SILENCE_S` without another.

Until settled, a row is claimed and nothing more. A crash therefore at worst makes the model see a row twice; it never
loses one.
"""

from __future__ import annotations

from collections import deque

from attrs import evolve, field, frozen
from nanoclaw_wire.inbound import Destination, InboundMessage

SILENCE_S = 5.0  # a queued turn begins within milliseconds; a loaded machine gets a thousand times that
LONG_SILENCE_S = 45.0  # a turn that began is announced by an event, so the model's thinking needs no time of its own


@frozen(kw_only=True, eq=False)
class Push:
    """Something the model was told.

    Args:
        rows: What it was told, oldest first.
        left_out: Rows that are settled with them.
        is_raw: True for a slash command that the provider got as it was typed.
        is_correction: True where the model was told that it reached nobody; the rows are those of the turn before.
        failures: How many turns over these rows failed and were tried again.
        is_anew: True where the rows are tried again without the continuation.
        destinations: The names that its prompt is written with; its turn means these (I15).
    """

    rows: tuple[InboundMessage, ...]
    left_out: tuple[InboundMessage, ...] = ()
    is_raw: bool = False
    is_correction: bool = False
    failures: int = 0
    is_anew: bool = False
    destinations: tuple[Destination, ...] = ()

    @property
    def message_ids(self) -> list[str]:
        """The ids of all rows that are settled together."""
        return [row.id for row in (*self.left_out, *self.rows)]

    @property
    def correlation_id(self) -> str:
        """Follows the turn through the log: that of the first message, or its id."""
        return self.rows[0].correlation_id or self.rows[0].id

    def as_correction(self) -> Push:
        """Return the push that tells the model about its missing block; it answers for the same rows."""
        return evolve(self, is_correction=True)


@frozen(kw_only=True)
class Silence:
    """How long a provider may be silent before what is in doubt counts as done, in seconds."""

    idle_s: float = field(default=SILENCE_S)
    stirred_s: float = field(default=LONG_SILENCE_S)


class Ledger:
    """The pushes of the open conversation, oldest first. All times are those of one monotonic clock, in seconds."""

    def __init__(self, silence: Silence | None = None) -> None:
        self._silence = silence or Silence()
        self._waiting: deque[Push] = deque()
        self._eligible: int | None = None  # how many waited when the running turn began; None while none is known
        self._is_stirred = False
        self._heard_at = 0.0
        self._told: dict[str, Destination] = {}  # by name, of all pushes: the model may remember each
        self.has_spoken = False  # a tool sent something in the running turn

    @property
    def current(self) -> Push | None:
        """What is being answered now: the oldest push that is not settled."""
        return self._waiting[0] if self._waiting else None

    @property
    def destinations(self) -> list[Destination]:
        """The names that the running turn may use: those of its own prompt before those of all other prompts.

        A turn that a provider begins by itself has no prompt. It means the names that were told last.
        """
        current = self.current
        own = {one.name: one for one in current.destinations} if current else {}
        return list((self._told | own).values())

    @property
    def is_running(self) -> bool:
        """True while a turn is known to run: one whose push or first tool was seen and whose result was not."""
        return self._eligible is not None

    @property
    def is_settled(self) -> bool:
        """True while nobody waits for an answer."""
        return not self._waiting

    def pushed(self, push: Push, now: float) -> None:
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

    def ended(self, now: float) -> Push | None:
        """Note a result, and return the push that it surely answered; None where the turn was nobody's."""
        # A turn that nothing announced can only be that of a push in doubt: a push while none runs announces its own.
        is_answer = self._waiting and self._eligible != 0
        settled = self._waiting.popleft() if is_answer else None
        self._forget_turn()
        self._heard_at = now
        return settled

    def silence_ends_at(self) -> float | None:
        """Return when silence settles what is in doubt; None where nothing is or a turn is known to run."""
        if self.is_running or not self._waiting:
            return None
        return self._heard_at + (self._silence.stirred_s if self._is_stirred else self._silence.idle_s)

    def settle_by_silence(self, now: float) -> list[Push]:
        """Take out and return what was in doubt, where the silence lasted long enough."""
        ends_at = self.silence_ends_at()
        return self.close() if ends_at is not None and now >= ends_at else []

    def close(self) -> list[Push]:
        """Forget the conversation, and return what was never settled, oldest first."""
        unsettled = list(self._waiting)
        self._waiting.clear()
        self._forget_turn()
        return unsettled

    def _begin(self) -> None:
        if self._eligible is None:
            self._eligible = len(self._waiting)

    def _forget_turn(self) -> None:
        self._eligible = None
        self._is_stirred = self.has_spoken = False
