"""Completes the command line of a verb.

Pure; a host of another version may leave fields out.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nanoclaw_client.arguments import parse_verb

Verb = Mapping[str, Any]
Parameter = Mapping[str, Any]


class Completion(NamedTuple):
    """A possible next word and its description."""

    word: str
    text: str = ""


PATHS = (Completion(":paths"),)
"""Any word may follow, including a path."""


def first_words(verbs: Iterable[Verb]) -> Iterator[Completion]:
    """Yield the first words of all verbs.

    Each is a resource with its next words, or a lone verb with its help.
    """
    descriptions: dict[str, dict[str, None]] = {}
    for verb in verbs:
        first, *more = str(verb.get("command")).split()
        descriptions.setdefault(first, {})[more[0] if more else str(verb.get("help", ""))] = None
    return (Completion(word, ", ".join(texts)) for word, texts in descriptions.items())


def next_words(words: Sequence[str], current: str, verbs: Sequence[Verb]) -> list[Completion]:
    """Return the candidates for the word that is being typed.

    Args:
        words: The words before it, the resource first.
        current: Its typed beginning; may be empty.
        verbs: The host's descriptions of its verbs.

    Raises:
        UsageError: The words before it are invalid.
    """
    if "--" in words:
        return []
    typed, given = parse_verb(words)
    match = _longest_verb(typed, verbs)
    following = [] if given else list(_following_words(typed, verbs))
    if match is None:
        return following
    verb, rest = match
    parameters = {_flag(parameter): parameter for parameter in verb.get("parameters", ())}
    if current.startswith("--") and "=" in current:
        flag = current.partition("=")[0].replace("_", "-")
        return [Completion(f"{flag}={choice}") for choice in listed_choices(parameters.get(flag, {}))]
    used = {_flag({"name": name}) for name in given}
    positional = [flag for flag, item in parameters.items() if item.get("is_positional") and flag not in used]
    options = list(_remaining_options(parameters, used | set(positional[: len(rest)])))
    last = parameters.get(words[-1].replace("_", "-")) if words[-1].startswith("--") else None
    if last is not None and not current.startswith("-"):
        values = [Completion(choice) for choice in listed_choices(last)]
        return values + options if last.get("kind") == "bool" else values or list(PATHS)
    next_positional = positional[len(rest) :][:1]
    values = [Completion(choice) for flag in next_positional for choice in listed_choices(parameters[flag])]
    return following + values + options


def listed_choices(parameter: Parameter) -> list[str]:
    """Return the values that a parameter takes; empty if it takes any."""
    if parameter.get("kind") == "bool":
        return ["true", "false"]
    choices = parameter.get("choices")
    return [str(choice) for choice in choices] if isinstance(choices, list) else []


def _longest_verb(typed: Sequence[str], verbs: Iterable[Verb]) -> tuple[Verb, Sequence[str]] | None:
    """Return the longest verb that `typed` begins with, and the words after it.

    None if there is none.
    """
    by_name = {tuple(str(verb.get("command")).split()): verb for verb in verbs}
    for length in range(len(typed), 0, -1):
        if tuple(typed[:length]) in by_name:
            return by_name[tuple(typed[:length])], typed[length:]
    return None


def _following_words(typed: Sequence[str], verbs: Iterable[Verb]) -> Iterator[Completion]:
    """Yield the next words of the verbs that begin with `typed`."""
    length, seen = len(typed), set()
    for verb in verbs:
        name = str(verb.get("command")).split()
        if name[:length] == list(typed) and len(name) > length and name[length] not in seen:
            seen.add(name[length])
            yield Completion(name[length], str(verb.get("help", "")) if len(name) == length + 1 else "")
    if seen and length == 1:
        yield Completion("help", "explains these verbs")


def _remaining_options(parameters: Mapping[str, Parameter], used: Container[str]) -> Iterator[Completion]:
    """Yield the options that are not used yet, or that may be repeated."""
    for flag, parameter in parameters.items():
        if flag not in used or parameter.get("kind") == "list":
            yield Completion(flag, str(parameter.get("help", "")))


def _flag(parameter: Parameter) -> str:
    return f"--{str(parameter.get('name')).replace('_', '-')}"
