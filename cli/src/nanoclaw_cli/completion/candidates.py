"""What may come next on a command line, among a host's verbs. Pure; a host of another version may leave things out."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nanoclaw_client.arguments import parse_verb

Verb = Mapping[str, Any]
Parameter = Mapping[str, Any]
CHOICE = re.compile(r"[a-z0-9][\w.-]*")


class Candidate(NamedTuple):
    """One word that may come next, and what it means."""

    word: str
    text: str = ""


PATHS = (Candidate(":paths"),)
"""Anything may come next, a path among it."""


def nouns(verbs: Iterable[Verb]) -> Iterator[Candidate]:
    """Yield the first words of all verbs, a noun with the words that go on, a verb that stands alone with its help."""
    found: dict[str, dict[str, None]] = {}
    for verb in verbs:
        first, *more = str(verb.get("command")).split()
        found.setdefault(first, {})[more[0] if more else str(verb.get("help", ""))] = None
    return (Candidate(word, ", ".join(texts)) for word, texts in found.items())


def after(words: Sequence[str], current: str, verbs: Sequence[Verb]) -> list[Candidate]:
    """Return what may stand in the place of the word that is being typed.

    Args:
        words: What stands before it, the noun first.
        current: What is typed of it; may be empty.

    Raises:
        UsageError: What stands before makes no sense.
    """
    if "--" in words:
        return []
    typed, given = parse_verb(words)
    found = _longest(typed, verbs)
    following = [] if given else list(_following(typed, verbs))
    if found is None:
        return following
    verb, rest = found
    parameters = {_flag(one): one for one in verb.get("parameters", ())}
    if current.startswith("--") and "=" in current:
        flag = current.partition("=")[0].replace("_", "-")
        return [Candidate(f"{flag}={one}") for one in choices(parameters.get(flag, {}))]
    taken = {_flag({"name": name}) for name in given}
    positional = [flag for flag, one in parameters.items() if one.get("is_positional") and flag not in taken]
    options = list(_options(parameters, taken | set(positional[: len(rest)])))
    open_one = parameters.get(words[-1].replace("_", "-")) if words[-1].startswith("--") else None
    if open_one is not None and not current.startswith("-"):
        values = [Candidate(one) for one in choices(open_one)]
        return values + options if open_one.get("kind") == "bool" else values or list(PATHS)
    values = [Candidate(one) for flag in positional[len(rest) :][:1] for one in choices(parameters[flag])]
    return following + values + options


def choices(parameter: Parameter) -> list[str]:
    """Return the values that a parameter can have, where its help lists them: `one of a, b, c`, `what for: a, b or c`.

    Empty where it lists none, or says more than single words.
    """
    if parameter.get("kind") == "bool":
        return ["true", "false"]
    told = re.sub(r"(; )?[\w-]+ where nothing is said$", "", str(parameter.get("help", "")))
    text = re.split(r"[:;] ", re.sub(r" \([^)]*\)", "", told))[-1]
    listed = re.split(r", or |, | or ", text.removeprefix("one of "))
    return listed if len(listed) > 1 and all(map(CHOICE.fullmatch, listed)) else []


def _longest(typed: Sequence[str], verbs: Iterable[Verb]) -> tuple[Verb, Sequence[str]] | None:
    """Return the verb that is typed, and the words after its name; None where it is none yet."""
    by_name = {tuple(str(verb.get("command")).split()): verb for verb in verbs}
    for length in range(len(typed), 0, -1):
        if tuple(typed[:length]) in by_name:
            return by_name[tuple(typed[:length])], typed[length:]
    return None


def _following(typed: Sequence[str], verbs: Iterable[Verb]) -> Iterator[Candidate]:
    """Yield the next words of the verbs whose names begin as is typed."""
    length, seen = len(typed), set()
    for verb in verbs:
        name = str(verb.get("command")).split()
        if name[:length] == list(typed) and len(name) > length and name[length] not in seen:
            seen.add(name[length])
            yield Candidate(name[length], str(verb.get("help", "")) if len(name) == length + 1 else "")
    if seen and length == 1:
        yield Candidate("help", "what these verbs take")


def _options(parameters: Mapping[str, Parameter], taken: Container[str]) -> Iterator[Candidate]:
    """Yield the options that are not given yet, or that can be given again."""
    for flag, one in parameters.items():
        if flag not in taken or one.get("kind") == "list":
            yield Candidate(flag, str(one.get("help", "")))


def _flag(parameter: Parameter) -> str:
    return f"--{str(parameter.get('name')).replace('_', '-')}"
