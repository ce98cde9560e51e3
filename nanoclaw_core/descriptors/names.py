"""The one rule for names of plugins, channels, providers, runtimes, services and resources, and how flags are named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import Attribute

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def check_name(_instance: object, attribute: Attribute[str], value: str) -> None:
    """Refuse what is not a name (an attrs validator)."""
    require_name(attribute.name, value)


def require_name(what: str, value: object) -> None:
    """Refuse what is not a lower-case word of at most 40 letters, digits and hyphens.

    Raises:
        ValueError: It is not; `what` says in the message what it was for.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{what} {value!r}: use lower-case letters, digits and hyphens, starting with a letter")


def flag_of(name: str) -> str:
    """Return a parameter or a column as it is typed: `--max-messages-per-prompt`."""
    return f"--{name.replace('_', '-')}"
