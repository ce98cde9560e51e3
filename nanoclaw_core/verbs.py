"""The core's own verbs: what a host says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import asdict

from nanoclaw_core.descriptors.administration import Parameter, Verb
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.scope import is_visible, own_arguments

CORE = "core"


def core_verbs(
    *,
    status: Callable[[], dict[str, Any]],
    plugins: Callable[[], list[dict[str, Any]]],
    verbs: Callable[[], Sequence[Verb]],
) -> list[Verb]:
    """Return the verbs `status`, `plugins list` and `help`."""

    listed, asked = "installed plugins and their state", "what can be asked"
    resource = Parameter(name="resource", is_positional=True, help="the resource to show the verbs of")
    return [
        Verb(resource="", name="status", access=Access.ALLOWED, run=_saying(lambda *_: status()), help="what runs"),
        Verb(
            resource="plugins", name="list", access=Access.OPERATOR_ONLY, run=_saying(lambda *_: plugins()), help=listed
        ),
        Verb(
            resource="",
            name="help",
            access=Access.ALLOWED,
            run=_saying(lambda arguments, caller: _help(verbs(), arguments.get("resource"), caller)),
            parameters=(resource,),
            help=asked,
            filters_by_scope=True,
        ),
    ]


def _saying(what: Callable[[Mapping[str, Any], Caller], Any]) -> Callable[..., Awaitable[Any]]:
    async def run(arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        return what(arguments, caller)

    return run


def _help(verbs: Sequence[Verb], resource: str | None, caller: Caller) -> list[dict[str, Any]]:
    """Tell of the verbs that the caller can ask for; what is filled in for it is marked, and not required of it."""
    shown = [verb for verb in verbs if resource in (None, verb.resource) and is_visible(verb, caller)]
    return [
        {
            "command": full_name(verb),
            "help": verb.help,
            "access": verb.access.value,
            "parameters": [_told(one, own_arguments(verb, caller)) for one in verb.parameters],
        }
        for verb in sorted(shown, key=full_name)
    ]


def _told(parameter: Parameter, own: Mapping[str, Any]) -> dict[str, Any]:
    told = asdict(parameter) | {"kind": parameter.kind.__name__, "is_filled_in": parameter.name in own}
    return told | ({"is_required": False} if parameter.name in own else {})
