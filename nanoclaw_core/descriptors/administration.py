"""What plugins add to the host's own work, from verbs and actions to migrations and sweeps."""

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
        is_positional: True if it may stand without its flag.
        help: Its meaning. Help and documents add the choices and the default.
        choices: The only values that it takes; empty if any value of the kind may stand. Completion offers them.
        default: The value that counts if none is given, as people write it; empty if there is none.
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
        resource: The noun; empty for a verb that stands alone (`help`).
        name: One or more words: `list`, `config get`.
        access: What the guard needs to know; there is no default.
        run: `await run(arguments, caller, context)` returns a JSON value. It never prints and never learns which
            transport called.
        scope_parameter: The parameter that names an agent group. For an agent of group scope its own is filled in, and
            any other is refused.
        filters_by_scope: True if `run` reads and changes nothing beyond `caller.scope_group_id`. Agents of group scope
            may not use a verb without it and without `scope_parameter` (I8).
        check: `check(arguments, caller, context)` raises what `run` would where the arguments cannot be right, before
            a human is asked about them.
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


@frozen(kw_only=True)
class Action:
    """Something a runner may ask of the host.

    Args:
        access: What the guard needs to know; there is no default.
        run: `await run(arguments, caller, context)`; the arguments come from the sandbox and are trusted in nothing.
    """

    name: str
    access: Access
    run: Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]


@frozen(kw_only=True)
class ApprovalHandler:
    """Carries out a held step once a human approved it; `name` is the step's name."""

    name: str
    run: Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]


@frozen(kw_only=True)
class Roster:
    """Says who has rights.

    Args:
        approvers: From an agent group, who may approve for it, most specific first; None asks for the whole instance.
    """

    name: str = field(validator=check_name)
    approvers: Callable[[GroupId | None, PluginContext], Iterable[UserId]]


@frozen(kw_only=True)
class Migration:
    """One step of a plugin's schema, applied once, in the order offered.

    Args:
        name: Unique in the plugin; never changed once released.
        apply: Runs inside a transaction, and may touch only objects whose name starts with the plugin's prefix.
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
