"""Packages of an agent group's image.

Only names are valid, because the image build runs as root (⚠50, ⚠52).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import Attribute, field, frozen

from nanoclaw_core.errors import InvalidArguments, quote
from nanoclaw_core.ids import GroupId

_PATTERNS = {  # the package managers' own rules for names; a name must not begin like an option
    "apt": re.compile(r"[a-z0-9]([a-z0-9._+-]*[a-z0-9.+])?"),  # a final hyphen would tell apt to remove the package
    "npm": re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"),
    "pip": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"),
}


def _as_names(names: Any) -> tuple[Any, ...]:
    if not isinstance(names, list | tuple):
        raise InvalidArguments(f"packages: must be a list of names, got {quote(names)}")
    return tuple(names)


def _check_names(_packages: Packages, attribute: Attribute[Sequence[str]], names: Any) -> None:
    wrong = [name for name in names if not (isinstance(name, str) and _PATTERNS[attribute.name].fullmatch(name))]
    if wrong:
        rule = f"must be package names, got {quote(wrong[0])}"
        raise InvalidArguments(f"{attribute.name}: {rule}. Give only names, without versions or options.")


@frozen(kw_only=True)
class Packages:
    """Packages by source: Debian, npm, PyPI.

    Raises:
        InvalidArguments: A value is not a package name.
    """

    apt: Sequence[str] = field(default=(), converter=_as_names, validator=_check_names)
    npm: Sequence[str] = field(default=(), converter=_as_names, validator=_check_names)
    pip: Sequence[str] = field(default=(), converter=_as_names, validator=_check_names)

    def __bool__(self) -> bool:
        return bool(self.apt or self.npm or self.pip)


@runtime_checkable
class BuildsImages(Protocol):
    """A runtime adapter that can make an image for one agent group."""

    async def build_for(self, group_id: GroupId, packages: Packages, tell: Callable[[str], None]) -> str:
        """Build the image of an agent group on top of the common image, and return its name.

        `tell` is called on the event loop with a progress line at the start of each step.

        Raises:
            SandboxRefused: It cannot be built in the current state; the error has the remedy.
            SandboxFailed: A step failed; the error has its line and the end of its output. Existing images stay.
        """
