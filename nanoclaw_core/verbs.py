"""The core's own verbs about the host itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import asdict

from nanoclaw_core.descriptors.administration import Parameter, Verb
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.scope import is_visible, scope_arguments


def core_verbs(
    *,
    status: Callable[[], dict[str, Any]],
    plugins: Callable[[], list[dict[str, Any]]],
    verbs: Callable[[], Sequence[Verb]],
) -> list[Verb]:
    """Return the verbs `status`, `plugins list` and `help`."""
    resource = Parameter(name="resource", is_positional=True, help="show only the verbs of this resource")
    return [
        Verb(
            resource="",
            name="status",
            access=Access.ALLOWED,
            run=_returning(lambda *_: status()),
            help="show the state of the host",
        ),
        Verb(
            resource="plugins",
            name="list",
            access=Access.OPERATOR_ONLY,
            run=_returning(lambda *_: plugins()),
            help="list the installed plugins and their states",
        ),
        Verb(
            resource="",
            name="help",
            access=Access.ALLOWED,
            run=_returning(lambda arguments, caller: _help(verbs(), arguments.get("resource"), caller)),
            parameters=(resource,),
            help="list the commands",
            filters_by_scope=True,
        ),
    ]


def _returning(value: Callable[[Mapping[str, Any], Caller], Any]) -> Callable[..., Awaitable[Any]]:
    async def run(arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        return value(arguments, caller)

    return run


def _help(verbs: Sequence[Verb], resource: str | None, caller: Caller) -> list[dict[str, Any]]:
    """Return the verbs that the caller may use; a filled-in parameter is marked and not required."""
    visible = [verb for verb in verbs if resource in (None, verb.resource) and is_visible(verb, caller)]
    return [
        {
            "command": full_name(verb),
            "help": verb.help,
            "access": verb.access.value,
            "parameters": [_described(parameter, scope_arguments(verb, caller)) for parameter in verb.parameters],
        }
        for verb in sorted(visible, key=full_name)
    ]


def _described(parameter: Parameter, own: Mapping[str, Any]) -> dict[str, Any]:
    described = asdict(parameter) | {"kind": parameter.kind.__name__, "is_filled_in": parameter.name in own}
    return described | ({"is_required": False} if parameter.name in own else {})
