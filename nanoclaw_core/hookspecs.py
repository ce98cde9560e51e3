"""Every point where a plugin can extend nanoclaw.

Three kinds of hook, and no fourth:

collect  Called once at start-up. Returns descriptors. Must not do I/O.
vote     Called per event. Returns a Verdict or None. One DENY wins; an implementation that raises counts as DENY; where
         nobody says ALLOW the answer is no.
notify   Called after the fact. The return value is ignored; an implementation that raises is logged and skipped.

All hooks are plain functions. Work that waits belongs to the objects that the descriptors build.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from nanoclaw_core.descriptors.administration import (
        Action,
        ApprovalHandler,
        Migration,
        Roster,
        Sweep,
        Verb,
    )
    from nanoclaw_core.descriptors.channels import Channel
    from nanoclaw_core.descriptors.messages import Address
    from nanoclaw_core.descriptors.providers import Provider
    from nanoclaw_core.descriptors.resources import Resource
    from nanoclaw_core.descriptors.runtimes import Runtime
    from nanoclaw_core.descriptors.sandboxes import SandboxRequirements
    from nanoclaw_core.descriptors.services import Service
    from nanoclaw_core.descriptors.votes import Admission, DeliveryRequest, PermissionRequest, Verdict

GROUP = "nanoclaw"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def nanoclaw_migrations() -> Iterable[Migration]:
    """Contribute the steps of the plugin's own tables, in order. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_channels() -> Iterable[Channel]:
    """Contribute chat platforms. (collect)

    Two channels with one name stop the start-up, and the error names both distributions.

    Example:
        @hookimpl
        def nanoclaw_channels():
            yield Channel(name="ntfy", settings=Settings, connect=NtfyAdapter)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_providers() -> Iterable[Provider]:
    """Contribute the host halves of what runs the model loop. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_runtimes() -> Iterable[Runtime]:
    """Contribute makers of sandboxes. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_sandbox_requirements() -> Iterable[SandboxRequirements]:
    """Say what the plugin wants inside the sandbox image. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_services() -> Iterable[Service]:
    """Contribute long-running parts that the core supervises. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_resources() -> Iterable[Resource]:
    """Contribute nouns for a resource registry to make verbs of. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_verbs(resources: Sequence[Resource]) -> Iterable[Verb]:
    """Contribute `ncl` operations. (collect)

    Args:
        resources: All resources of the plugins, for a registry that makes verbs of them; others leave it out.

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_actions() -> Iterable[Action]:
    """Contribute what runners may ask of the host. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_approval_handlers() -> Iterable[ApprovalHandler]:
    """Contribute what carries out held steps. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_rosters() -> Iterable[Roster]:
    """Contribute lists of people with rights. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_sweeps() -> Iterable[Sweep]:
    """Contribute periodic work. (collect)

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_admit_message(admission: Admission) -> Verdict | None:
    """Say whether a sender may reach an agent, before anything of the message is stored. (vote)

    Args:
        admission: Who writes, where, to whom, and whether the agent would answer.

    Returns:
        A Verdict, or None for "not mine to say".

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_permit_delivery(request: DeliveryRequest) -> Verdict | None:
    """Say whether a session may write to a room that it did not come from. (vote)

    A reply to the session's own room is always allowed and never put to the vote.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_permit_action(request: PermissionRequest) -> Verdict | None:
    """Object to a verb or an action of an agent. (vote)

    Here silence is no objection: the step's registered access has already said what is allowed, and a vote can only
    narrow it. An implementation that raises is a DENY.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_room_unknown(address: Address, mentioned: bool) -> None:
    """A message came from a room nobody wired. (notify)

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_sender_refused(admission: Admission, reason: str) -> None:
    """The vote turned a sender away. (notify)

    If `admission.engaged` is None, the message may not have been for the agent: its text was not matched.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_message_routed(address: Address, session_id: str, correlation_id: str) -> None:
    """A message is durable in a session. (notify)

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_message_delivered(address: Address, delivery_id: str, platform_message_id: str | None) -> None:
    """A platform took a message. (notify)

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_delivery_failed(address: Address, delivery_id: str, reason: str) -> None:
    """A message failed for good. (notify)

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_host_started() -> None:
    """The host is ready. (notify)

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_host_stopping() -> None:
    """The host begins to stop; everything still works. (notify)

    .. versionadded:: 0.1
    """
