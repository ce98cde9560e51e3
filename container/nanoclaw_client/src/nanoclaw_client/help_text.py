"""Formats a host's descriptions of its verbs for people. A host of another version may leave fields out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

KINDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "bool": "", "list": "TEXT…"}
ACCESS = {"needs-approval": " (agents need an approval)", "operator-only": " (operator only)"}
FILLED_IN = " (filled in with your own)"


def overview(verbs: object, without: Collection[str] = ()) -> str:
    """Return one line per verb, except for the names in `without`."""
    lines = {str(verb.get("command")): str(verb.get("help", "")) for verb in _objects(verbs)}
    shown = {name: text for name, text in lines.items() if name not in without}
    width = max(map(len, shown), default=0)
    return "\n".join(f"  {name:<{width}}  {text}".rstrip() for name, text in shown.items())


def verb_names(verbs: object) -> list[str]:
    """Return the full names of the verbs."""
    return [str(verb.get("command")) for verb in _objects(verbs)]


def matching_verbs(verbs: object, words: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the verbs that match the longest prefix of `words`; all verbs if none matches.

    Trailing words may be arguments.
    """
    for length in range(len(words), 0, -1):
        name = " ".join(words[:length])
        matching = [verb for verb in _objects(verbs) if f"{verb.get('command')} ".startswith(f"{name} ")]
        if matching:
            return matching
    return list(_objects(verbs))


def explain(verbs: object) -> str:
    """Return the usage, the description and the parameters of each verb."""
    return "\n\n".join(_explain_verb(verb) for verb in _objects(verbs))


def _explain_verb(verb: Mapping[str, Any]) -> str:
    parameters = _objects(verb.get("parameters"))
    positional = [_placeholder(item) for item in parameters if item.get("is_positional")]
    required = [_option(item) for item in parameters if item.get("is_required") and not item.get("is_positional")]
    optional = [item for item in parameters if not item.get("is_required") and not item.get("is_positional")]
    usage = " ".join([f"ncl {verb.get('command')}", *positional, *required, *(["[options]"] if optional else [])])
    rows = [(_option(item), _parameter_help(item)) for item in parameters]
    help_text = f"{verb.get('help', '')}{ACCESS.get(str(verb.get('access')), '')}"
    width = max((len(option) for option, _ in rows), default=0)
    return "\n".join(
        [usage, f"    {help_text}", *(f"      {option:<{width}}  {text}".rstrip() for option, text in rows)]
    )


def _parameter_help(parameter: Mapping[str, Any]) -> str:
    """Return the meaning, the choices and the default. A host of another version may leave fields out."""
    choices = ", ".join(map(str, parameter.get("choices") or ()))
    meaning = "; ".join(filter(None, (str(parameter.get("help", "")), f"one of {choices}" if choices else "")))
    default = f" (default {parameter['default']})" if parameter.get("default") else ""
    return f"{meaning}{default}{FILLED_IN if parameter.get('is_filled_in') else ''}".strip()


def _placeholder(parameter: Mapping[str, Any]) -> str:
    name = f"<{str(parameter.get('name')).replace('_', '-')}>"
    return f"[{name}]" if not parameter.get("is_required") else name


def _option(parameter: Mapping[str, Any]) -> str:
    flag = f"--{str(parameter.get('name')).replace('_', '-')}"
    return f"{flag} {KINDS.get(str(parameter.get('kind')), 'VALUE')}".rstrip()


def _objects(value: object) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
