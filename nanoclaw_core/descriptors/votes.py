"""Votes and their questions.

Without an ALLOW, or after an error, the result is DENY (I8).
"""

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
    """A vote and its reason.

    The reason of a DENY is recorded and may be shown to the operator.
    """

    vote: Vote
    reason: str = ""


@frozen(kw_only=True)
class Admission:
    """The question of `nanoclaw_admit_message`: may this sender reach this agent through this wiring?

    Args:
        user_id: None if the platform does not provide the writer.
        engaged: True if the agent would answer, False if the message would only be kept as context. None if the
            wiring's pattern decides, which is only matched against admitted messages; a vote must treat it like True.
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
    """The question of `nanoclaw_permit_delivery`: may this session write to a foreign room?"""

    session_id: SessionId
    agent_group_id: GroupId
    address: Address


class RequestKind(Enum):
    """Kind of a permission request."""

    VERB = "verb"
    ACTION = "action"


class Access(Enum):
    """The access of agents to a verb or an action.

    It has no default: an omission must not mean yes.

    ALLOWED runs at once, NEEDS_APPROVAL waits for a human, OPERATOR_ONLY is refused. The operator may run all.
    """

    ALLOWED = "allowed"
    NEEDS_APPROVAL = "needs-approval"
    OPERATOR_ONLY = "operator-only"


@frozen(kw_only=True)
class Caller:
    """The sender of a request, as identified by the transport (I7).

    Args:
        operator: True on the host's own socket, which is protected by its file mode.
        session_id: The asking sandbox's session; None for the operator.
        agent_group_id: The asking agent; None for the operator.
        scope_group_id: The agent group to which this caller's reads and changes are limited; None sets no limit.
            Dispatch sets it from the agent's scope. A verb with `filters_by_scope` applies it itself.
        progress: Shows a line about the progress of a slow operation.
    """

    operator: bool = False
    session_id: SessionId | None = None
    agent_group_id: GroupId | None = None
    scope_group_id: GroupId | None = None
    progress: Callable[[str], None] = field(default=lambda _line: None, eq=False, repr=False)


@frozen(kw_only=True)
class PermissionRequest:
    """A privileged request.

    The guard decides on it, a human approves it, and exactly it runs.

    Args:
        name: Name of the verb or action: `groups config update`, `schedule_task`.
        access: The access with which the verb or action was registered.
        arguments_json: The complete, validated arguments as canonical JSON.
        grant: Id of the approval under which it runs, or None.
    """

    kind: RequestKind
    name: str
    access: Access
    caller: Caller
    arguments_json: str = "{}"
    grant: str | None = None
