"""What an agent may ask of `ncl`, by the `cli_scope` of its group. Pure; looked at after names are normalised (⚠49)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import evolve

from nanoclaw_core.descriptors.administration import Verb
from nanoclaw_core.descriptors.names import flag_of
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.errors import Forbidden


class Scope(Enum):
    """How far an agent's `ncl` reaches."""

    DISABLED = "disabled"
    GROUP = "group"
    GLOBAL = "global"


def narrowed(caller: Caller, scope: Scope) -> Caller:
    """Return an agent as a caller who can do what its scope allows.

    Raises:
        Forbidden: That is nothing.
    """
    if scope is Scope.DISABLED:
        raise Forbidden("ncl is disabled for this agent; only the operator can change that")
    return evolve(caller, scope_group_id=None if scope is Scope.GLOBAL else caller.agent_group_id)


def is_visible(verb: Verb, caller: Caller) -> bool:
    """Say whether it makes sense to tell a caller of a verb."""
    return caller.operator or (verb.access is not Access.OPERATOR_ONLY and is_within(verb, caller))


def is_within(verb: Verb, caller: Caller) -> bool:
    """Say whether a verb is within a caller's scope; one that declares none is not for a limited caller (I8)."""
    return caller.scope_group_id is None or verb.filters_by_scope or own_arguments(verb, caller) != {}


def own_arguments(verb: Verb, caller: Caller) -> dict[str, Any]:
    """Return what is filled in for a limited caller: the parameter that names an agent group."""
    names = {parameter.name for parameter in verb.parameters}
    return (
        {verb.scope_parameter: caller.scope_group_id} if caller.scope_group_id and verb.scope_parameter in names else {}
    )


def refuse_beyond(verb: Verb, arguments: Mapping[str, Any], caller: Caller) -> None:
    """Insist that a caller stays within its scope; what exists beyond it is not told.

    Args:
        arguments: As typed by people or structured, with `own_arguments` filled in where nothing was given.

    Raises:
        Forbidden: The verb is not for this caller, or another agent group or `cli_scope` is named.
    """
    if not is_within(verb, caller):
        asked = f"{verb.resource} {verb.name}".strip()
        raise Forbidden(f"{asked} is not available to this agent: its ncl reaches its own group alone")
    for name, own in own_arguments(verb, caller).items():
        if arguments.get(name) != own:
            said = f"{flag_of(name)} {arguments.get(name)!r}"
            raise Forbidden(f"{said}: the ncl of this agent is scoped to its own group")
    if caller.scope_group_id is not None and names_scope(arguments):
        raise Forbidden("cli_scope can be changed by the operator, and by agents whose own scope is global")


def names_scope(value: Any) -> bool:
    """Say whether `cli_scope` is a key anywhere in a value, however it is spelled, also in a text that is JSON."""
    if isinstance(value, Mapping):
        keys = {str(key).strip().strip("-").replace("-", "_").casefold() for key in value}
        return "cli_scope" in keys or any(map(names_scope, value.values()))
    if isinstance(value, list | tuple):
        return any(map(names_scope, value))
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        try:
            return names_scope(json.loads(value))
        except ValueError:
            return False
        except RecursionError:
            return True  # nobody nests like this who means well
    return False
