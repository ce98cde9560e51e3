"""Every point where a plugin can extend nanoclaw.

Three kinds of hook, and no fourth:

collect  Called once at start-up. Returns descriptors. Must not do I/O.
vote     Called per event. Returns a Verdict or None. One DENY wins, an implementation that raises counts as DENY, and
         without any ALLOW the result is DENY.
notify   Called after an event. The return value is ignored; an implementation that raises is logged and skipped.

All hooks are plain functions. Asynchronous work belongs to the objects that the descriptors build.
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
    """Contribute the steps of the plugin's own tables, in order (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_channels() -> Iterable[Channel]:
    """Contribute chat platforms (collect).

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
    """Contribute the host halves of providers, which run the model loop (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_runtimes() -> Iterable[Runtime]:
    """Contribute runtimes, which start sandboxes (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_sandbox_requirements() -> Iterable[SandboxRequirements]:
    """Contribute the plugin's requirements for the sandbox image (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_services() -> Iterable[Service]:
    """Contribute long-running parts that the core supervises (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_resources() -> Iterable[Resource]:
    """Contribute resources, for which a resource registry generates the verbs (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_verbs(resources: Sequence[Resource]) -> Iterable[Verb]:
    """Contribute `ncl` operations (collect).

    Args:
        resources: The resources of all plugins, for a registry that generates their verbs. Others omit the parameter.

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_actions() -> Iterable[Action]:
    """Contribute actions, which runners may request from the host (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_approval_handlers() -> Iterable[ApprovalHandler]:
    """Contribute handlers that execute approved requests (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_rosters() -> Iterable[Roster]:
    """Contribute lists of people with rights (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_sweeps() -> Iterable[Sweep]:
    """Contribute periodic work (collect).

    .. versionadded:: 0.1
    """
    return ()


@hookspec
def nanoclaw_admit_message(admission: Admission) -> Verdict | None:
    """Vote whether a sender may reach an agent, before the message is stored (vote).

    Args:
        admission: The sender, the address, the agent, and whether the agent would answer.

    Returns:
        A Verdict, or None to abstain.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_permit_delivery(request: DeliveryRequest) -> Verdict | None:
    """Vote whether a session may write to a room other than its own (vote).

    A reply to the session's own room is always allowed without a vote.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_permit_action(request: PermissionRequest) -> Verdict | None:
    """Object to a verb or an action of an agent (vote).

    Without a DENY the registered access of the request applies; a vote can only restrict it. An implementation that
    raises counts as DENY.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_room_unknown(address: Address, mentioned: bool) -> None:
    """React to a message from a room without a wiring (notify).

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_sender_refused(admission: Admission, reason: str) -> None:
    """React to a sender that the vote refused (notify).

    If `admission.engaged` is None, the text was not matched, so the message may not have been for the agent.

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_message_routed(address: Address, session_id: str, correlation_id: str) -> None:
    """React to a message that is durable in a session (notify).

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_message_delivered(address: Address, delivery_id: str, platform_message_id: str | None) -> None:
    """React to a message that a platform accepted (notify).

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_delivery_failed(address: Address, delivery_id: str, reason: str) -> None:
    """React to a message that failed for good (notify).

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_host_started() -> None:
    """React to the start of the host, which is ready (notify).

    .. versionadded:: 0.1
    """


@hookspec
def nanoclaw_host_stopping() -> None:
    """React to the beginning of the host's stop; all components still work (notify).

    .. versionadded:: 0.1
    """
