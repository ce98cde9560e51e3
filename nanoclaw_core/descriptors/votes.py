"""Votes, and what a vote is told. Silence is a no, and so is an implementation that raises (I8)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import field, frozen

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import GroupId, SessionId, UserId, WiringId


class Vote(Enum):
    """A vote hook's answer."""

    ALLOW = "allow"
    DENY = "deny"


@frozen
class Verdict:
    """A vote and its reason. The reason of a DENY is recorded and may be shown to the operator."""

    vote: Vote
    reason: str = ""


@frozen(kw_only=True)
class Admission:
    """The question of `nanoclaw_admit_message`: may this sender reach this agent through this wiring?

    Args:
        user_id: None where the platform cannot say who wrote.
        engaged: True if the agent would answer, False if the message would only be kept as context. None if the
            wiring's pattern decides, which is matched against admitted messages only; a vote must judge it like True.
    """

    address: Address
    user_id: UserId | None
    sender_name: str | None
    agent_group_id: GroupId
    wiring_id: WiringId
    is_group: bool
    engaged: bool | None


@frozen(kw_only=True)
class DeliveryRequest:
    """The question of `nanoclaw_permit_delivery`: may this session write to a room it did not come from?"""

    session_id: SessionId
    agent_group_id: GroupId
    address: Address


class StepKind(Enum):
    """What kind of privileged step the guard judges."""

    VERB = "verb"
    ACTION = "action"


class Access(Enum):
    """What a verb or an action says of itself; there is no default, because saying nothing must not mean yes.

    OPEN needs no human, HOLD waits for one unless the caller is the operator, DENY is for the operator alone.
    """

    OPEN = "open"
    HOLD = "hold"
    DENY = "deny"


@frozen(kw_only=True)
class Caller:
    """Who asks, as the transport knows it (I7).

    Args:
        operator: True on the host's own socket, whose trust is its file mode.
        session_id: The asking sandbox's session; None for the operator.
        agent_group_id: The asking agent; None for the operator.
        limited_to: The one agent group whose things this caller may see and change; None sets no limit. Dispatch sets
            it from the agent's scope, and a verb that says it limits itself keeps to it.
        tell: Shows a line about the progress of what takes long, where somebody watches.
    """

    operator: bool = False
    session_id: SessionId | None = None
    agent_group_id: GroupId | None = None
    limited_to: GroupId | None = None
    tell: Callable[[str], None] = field(default=lambda _line: None, eq=False, repr=False)


@frozen(kw_only=True)
class Step:
    """A privileged step, whole: the guard decides on this, a human approves this, and this is what runs.

    Args:
        kind: Verb or action.
        name: Its name, `groups config update` or `schedule_task`.
        access: What it was registered with.
        arguments_json: The complete, validated arguments as canonical JSON.
        grant: The id of the approval it runs under, or None.
    """

    kind: StepKind
    name: str
    access: Access
    caller: Caller
    arguments_json: str = "{}"
    grant: str | None = None
