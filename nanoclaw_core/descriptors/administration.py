"""Verbs, actions, approval handlers, rosters, migrations and sweeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.ids import GroupId, UserId

if TYPE_CHECKING:
    import apsw


@frozen(kw_only=True)
class Parameter:
    """One argument of a verb.

    Args:
        kind: The type of its value: str, int, float, bool, or list.
        is_positional: True if it may be given without its flag.
        help: Its meaning. Help and documents add the choices and the default.
        choices: The allowed values, which completion offers; empty allows all values of the type.
        default: The default value as people type it; empty if there is none.
    """

    name: str
    kind: type = str
    is_required: bool = False
    is_positional: bool = False
    help: str = ""
    choices: Sequence[str] = ()
    default: str = ""


@frozen(kw_only=True)
class Verb:
    """One `ncl` operation: `ncl <resource> <name>`.

    Args:
        resource: The resource; empty for a verb without one (`help`).
        name: One or more words: `list`, `config get`.
        access: The access of agents; it has no default.
        run: `await run(arguments, caller, context)` returns a JSON value. It never prints, and it works on every
            transport.
        scope_parameter: The parameter for an agent group. For an agent of group scope its own group is filled in, and
            any other is refused.
        filters_by_scope: True if `run` reads and changes nothing beyond `caller.scope_group_id`. Agents of group scope
            may not use a verb without it and without `scope_parameter` (I8).
        check: `check(arguments, caller, context)` raises the error of `run` for invalid arguments, before a human is
            asked to approve them.
        preview: `preview(arguments, caller, context)` returns what `run` would change, for the human who decides about
            an agent's request: `{thing: {"before": …, "after": …}}`. It changes nothing, and raises the error of `run`
            if the request would fail. None: the plugin does not describe it.
    """

    resource: str
    name: str
    access: Access
    run: Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]
    parameters: Sequence[Parameter] = ()
    help: str = ""
    scope_parameter: str | None = None
    filters_by_scope: bool = False
    check: Callable[[Mapping[str, Any], Caller, PluginContext], None] = lambda *_: None
    preview: Callable[[Mapping[str, Any], Caller, PluginContext], Any] = lambda *_: None


@frozen(kw_only=True)
class Action:
    """An action that a runner may request from the host.

    Args:
        access: The access of agents; it has no default.
        run: `await run(arguments, caller, context)`. The arguments come from the sandbox and are not trusted.
        preview: As in `Verb`.
    """

    name: str
    access: Access
    run: Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]
    preview: Callable[[Mapping[str, Any], Caller, PluginContext], Any] = lambda *_: None


@frozen(kw_only=True)
class ApprovalHandler:
    """Executes an approved request; `name` is the name of the verb or action."""

    name: str
    run: Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]


@frozen(kw_only=True)
class Roster:
    """A list of people with rights.

    Args:
        approvers: Returns the approvers of an agent group, most specific first; None means the whole instance.
    """

    name: str = field(validator=check_name)
    approvers: Callable[[GroupId | None, PluginContext], Iterable[UserId]]


@frozen(kw_only=True)
class Migration:
    """One step of a plugin's schema, applied once, in the contributed order.

    Args:
        name: Unique in the plugin; it never changes after a release.
        apply: Runs in a transaction, and may only touch objects with the plugin's prefix.
    """

    name: str
    apply: Callable[[apsw.Connection], None]


@frozen(kw_only=True)
class Sweep:
    """Periodic work.

    Args:
        every_s: The pause between the end of one run and the start of the next, in seconds.
    """

    name: str = field(validator=check_name)
    every_s: float
    run: Callable[[PluginContext], Awaitable[None]]
