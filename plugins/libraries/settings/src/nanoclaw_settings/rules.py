"""Validators and the `Secret` type for settings classes.

attrs applies the validators to each new instance, from a file or in Python. Each error names the key, the rule and the
value. Each rule accepts None, and tests the text of a `Secret`, which the error does not show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
from attrs import frozen

from nanoclaw_settings.errors import InvalidSetting


@frozen(repr=False)
class Secret:
    """A string, like a key or a token, that no repr, log, JSON output or error of a setting shows."""

    _text: str = ""

    def reveal(self) -> str:
        """Return the text. Call it only where the text is used."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __bool__(self) -> bool:
        return bool(self._text)


del Secret.__attrs_attrs__  # no `asdict` and no converter may take it for a table with a field


class BrokenRule(InvalidSetting):
    """A value breaks a `Rule`, whose text was fixed before the value was known."""


@frozen
class Rule:
    """A validator of a field.

    Args:
        text: The rule for people, for example "must be at least 1".
        holds: Returns whether a value keeps the rule.
    """

    text: str
    holds: Callable[[Any], bool]

    def __call__(self, _settings: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Check a value for attrs.

        Raises:
            BrokenRule: The value breaks the rule.
        """
        if value is not None and not self.holds(_bare(value)):
            raise BrokenRule(attribute.name, self.text, value)


def one_of(*choices: str) -> Rule:
    """Require one of some values."""
    return Rule(f"must be one of {', '.join(choices)}", choices.__contains__)


def at_least(minimum: float) -> Rule:
    """Require a number that is not smaller than the minimum."""
    return Rule(f"must be at least {minimum}", lambda value: value >= minimum)


def between(minimum: float, maximum: float) -> Rule:
    """Require a number from the minimum to the maximum, both included."""
    return Rule(f"must be from {minimum} to {maximum}", lambda value: minimum <= value <= maximum)


def above(limit: float) -> Rule:
    """Require a number that is greater than the limit."""
    return Rule(f"must be greater than {limit}", lambda value: value > limit)


def matches(pattern: str, rule: str = "") -> Rule:
    """Require that a regular expression matches the complete string; `rule` explains it to people."""
    return Rule(rule or f"must match {pattern}", lambda value: re.fullmatch(pattern, value) is not None)


def not_empty() -> Rule:
    """Require at least one item or character."""
    return Rule("must not be empty", lambda value: len(value) > 0)


def each(rule: Rule) -> Rule:
    """Require that each item keeps a rule; an empty list does."""
    return Rule(f"each item {rule.text}", lambda value: all(rule.holds(_bare(item)) for item in value))


def _bare(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value
