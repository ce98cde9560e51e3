"""Rules of `cli_scope` for an agent's `ncl`, checked on normalised names (⚠49)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import evolve

from nanoclaw_core.descriptors.administration import Verb
from nanoclaw_core.descriptors.names import flag_of
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.errors import Forbidden, quote


class Scope(Enum):
    """The reach of an agent's `ncl`."""

    DISABLED = "disabled"
    GROUP = "group"
    GLOBAL = "global"


def apply_scope(caller: Caller, scope: Scope) -> Caller:
    """Return a caller with the limits of an agent's scope.

    Raises:
        Forbidden: The scope is DISABLED.
    """
    if scope is Scope.DISABLED:
        raise Forbidden("ncl is disabled for this agent. Only the operator can enable it.")
    return evolve(caller, scope_group_id=None if scope is Scope.GLOBAL else caller.agent_group_id)


def is_visible(verb: Verb, caller: Caller) -> bool:
    """Return True if a verb is listed for a caller."""
    return caller.operator or (verb.access is not Access.OPERATOR_ONLY and is_within(verb, caller))


def is_within(verb: Verb, caller: Caller) -> bool:
    """Return True if a verb is in a caller's scope; an undeclared one is not (I8)."""
    return caller.scope_group_id is None or verb.filters_by_scope or scope_arguments(verb, caller) != {}


def scope_arguments(verb: Verb, caller: Caller) -> dict[str, Any]:
    """Return the filled-in arguments of a limited caller: its agent group."""
    names = {parameter.name for parameter in verb.parameters}
    return (
        {verb.scope_parameter: caller.scope_group_id} if caller.scope_group_id and verb.scope_parameter in names else {}
    )


def require_within_scope(verb: Verb, arguments: Mapping[str, Any], caller: Caller) -> None:
    """Check that a caller stays within its scope.

    The error does not reveal if a foreign object exists. The arguments are typed or structured values, with missing
    ones filled in from `scope_arguments`.

    Raises:
        Forbidden: The verb is not for this caller, or the arguments name another agent group or `cli_scope`.
    """
    if not is_within(verb, caller):
        asked = f"{verb.resource} {verb.name}".strip()
        raise Forbidden(f"{asked} is not available to this agent: its ncl only reaches its own group")
    for name, own in scope_arguments(verb, caller).items():
        if arguments.get(name) != own:
            given = f"{flag_of(name)} {quote(arguments.get(name))}"
            raise Forbidden(f"{given}: the ncl of this agent is scoped to its own group")
    if caller.scope_group_id is not None and names_scope(arguments):
        raise Forbidden("only the operator and agents with global scope can change cli_scope")


def names_scope(value: Any) -> bool:
    """Return True if a value or a JSON string in it has a key `cli_scope` (any spelling)."""
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
            return True  # no honest value is nested this deeply
    return False
