"""The core's own verbs: what a host says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import asdict

from nanoclaw_core.descriptors.administration import Parameter, Verb
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.votes import Access, Caller
from nanoclaw_core.dispatch import full_name

CORE = "core"


def core_verbs(
    *,
    status: Callable[[], dict[str, Any]],
    plugins: Callable[[], list[dict[str, Any]]],
    verbs: Callable[[], Sequence[Verb]],
) -> list[Verb]:
    """Return the verbs `status`, `plugins list` and `help`."""

    listed, asked = "installed plugins and their state", "what can be asked"
    resource = Parameter(name="resource", is_positional=True, help="a noun, to see its verbs alone")
    return [
        Verb(resource="", name="status", access=Access.OPEN, run=_saying(lambda _: status()), help="what runs"),
        Verb(resource="plugins", name="list", access=Access.DENY, run=_saying(lambda _: plugins()), help=listed),
        Verb(
            resource="",
            name="help",
            access=Access.OPEN,
            run=_saying(lambda arguments: _help(verbs(), arguments.get("resource"))),
            parameters=(resource,),
            help=asked,
        ),
    ]


def _saying(what: Callable[[Mapping[str, Any]], Any]) -> Callable[..., Awaitable[Any]]:
    async def run(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> Any:
        return what(arguments)

    return run


def _help(verbs: Sequence[Verb], resource: str | None) -> list[dict[str, Any]]:
    shown = [verb for verb in verbs if resource is None or verb.resource == resource]
    return [
        {"command": full_name(verb), "help": verb.help, "parameters": [_told(one) for one in verb.parameters]}
        for verb in sorted(shown, key=full_name)
    ]


def _told(parameter: Parameter) -> dict[str, Any]:
    return asdict(parameter) | {"kind": parameter.kind.__name__}
