"""What an agent group wants installed in its image. Names only: they end up in a build that runs as root (⚠50, ⚠52)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import Attribute, field, frozen

from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.ids import GroupId

_PATTERNS = {  # what the package managers themselves take for a name, and nothing that begins like an option
    "apt": re.compile(r"[a-z0-9]([a-z0-9._+-]*[a-z0-9.+])?"),  # with - at its end apt would remove it
    "npm": re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"),
    "pip": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"),
}


def _as_names(names: Any) -> tuple[Any, ...]:
    if not isinstance(names, list | tuple):
        raise InvalidArguments(f"packages are a list of names, not {names!r}")
    return tuple(names)


def _check_names(_packages: Packages, attribute: Attribute[Sequence[str]], names: Any) -> None:
    wrong = [name for name in names if not (isinstance(name, str) and _PATTERNS[attribute.name].fullmatch(name))]
    if wrong:
        raise InvalidArguments(f"{wrong[0]!r} cannot be the name of a package of {attribute.name}; give names alone")


@frozen(kw_only=True)
class Packages:
    """Packages by where they come from: Debian, npm, PyPI.

    Raises:
        InvalidArguments: One of them, whatever its type and place, is no name.
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
        """Make the image of an agent group on top of the one that all have, and return its name.

        Args:
            tell: Takes a line for people on the event loop: each step as it begins.

        Raises:
            SandboxRefused: It cannot be made as things are; the message says what to do.
            SandboxFailed: A step failed; the message has its line and the end of what it said. Images that were there
                are there still.
        """
