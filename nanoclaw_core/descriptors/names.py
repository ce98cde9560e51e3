"""The rules for names of plugins, their contributions, and flags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import Attribute

CORE = "core"  # the name of the core where others have the name of their plugin
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def check_name(_instance: object, attribute: Attribute[str], value: str) -> None:
    """Validate the name in an attrs field."""
    require_name(attribute.name, value)


def require_name(what: str, value: object) -> None:
    """Require a lower-case word of at most 40 letters, digits and hyphens.

    `what` names its use in the error.

    Raises:
        ValueError: It is not such a word.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{what} {value!r}: use lower-case letters, digits and hyphens, starting with a letter")


def flag_of(name: str) -> str:
    """Return the flag of a parameter or column: `--max-messages-per-prompt`."""
    return f"--{name.replace('_', '-')}"
