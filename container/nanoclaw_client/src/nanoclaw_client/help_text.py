"""What a host says of its verbs, as people read it. A host of another version may leave things out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

KINDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "bool": "", "list": "TEXT…"}
ACCESS = {"hold": " (for an agent a human has to agree)", "deny": " (for the operator alone)"}
FILLED_IN = " (filled in: your own)"


def overview(verbs: object, without: Collection[str] = ()) -> str:
    """Return one line a verb, leaving out those whose name is taken."""
    lines = {str(verb.get("command")): str(verb.get("help", "")) for verb in _objects(verbs)}
    shown = {name: text for name, text in lines.items() if name not in without}
    width = max(map(len, shown), default=0)
    return "\n".join(f"  {name:<{width}}  {text}".rstrip() for name, text in shown.items())


def names(verbs: object) -> list[str]:
    """Return the verbs' whole names."""
    return [str(verb.get("command")) for verb in _objects(verbs)]


def about(verbs: object, words: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the verbs that are meant by words, of which the last may be arguments already; all where none is."""
    for length in range(len(words), 0, -1):
        name = " ".join(words[:length])
        found = [one for one in _objects(verbs) if f"{one.get('command')} ".startswith(f"{name} ")]
        if found:
            return found
    return list(_objects(verbs))


def explained(verbs: object) -> str:
    """Return everything about each verb: how it is typed, what it does, and its parameters."""
    return "\n\n".join(_one(verb) for verb in _objects(verbs))


def _one(verb: Mapping[str, Any]) -> str:
    parameters = _objects(verb.get("parameters"))
    positional = [_positional(one) for one in parameters if one.get("is_positional")]
    required = [_typed(one) for one in parameters if one.get("is_required") and not one.get("is_positional")]
    optional = [one for one in parameters if not one.get("is_required") and not one.get("is_positional")]
    usage = " ".join([f"ncl {verb.get('command')}", *positional, *required, *(["[options]"] if optional else [])])
    told = [(_typed(one), f"{one.get('help', '')}{FILLED_IN if one.get('is_filled_in') else ''}") for one in parameters]
    help_text = f"{verb.get('help', '')}{ACCESS.get(str(verb.get('access')), '')}"
    width = max((len(typed) for typed, _ in told), default=0)
    return "\n".join([usage, f"    {help_text}", *(f"      {typed:<{width}}  {text}".rstrip() for typed, text in told)])


def _positional(parameter: Mapping[str, Any]) -> str:
    name = f"<{str(parameter.get('name')).replace('_', '-')}>"
    return f"[{name}]" if not parameter.get("is_required") else name


def _typed(parameter: Mapping[str, Any]) -> str:
    flag = f"--{str(parameter.get('name')).replace('_', '-')}"
    return f"{flag} {KINDS.get(str(parameter.get('kind')), 'VALUE')}".rstrip()


def _objects(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
