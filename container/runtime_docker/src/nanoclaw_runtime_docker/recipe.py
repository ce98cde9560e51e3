"""What the agent image is made of, and its tag: a hash of what plugins and we put in.

The same set gives the same tag whatever the order of plugins, so a stale image shows by its tag alone. What it is built
on, and where packages come from, is the operator's choice at the time of the build and no part of the tag.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen
from nanoclaw_wire import PROTOCOL

from nanoclaw_core import SandboxPart, SandboxRefused
from nanoclaw_runtime_docker.distributions import Ingredient, ingredient

REPOSITORY = "nanoclaw-agent"
ALWAYS = (("nanoclaw-wire", ""), ("nanoclaw-client", ""), ("nanoclaw-runner", ""))
_APT = re.compile(r"[a-z0-9][a-z0-9.+-]*(=[A-Za-z0-9.+~:-]+)?")
_NPM = re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*(@[A-Za-z0-9.^~<>=*+-]+)?")
_PIP = re.compile(r"[A-Za-z0-9][^\n\r]*")


@frozen(kw_only=True)
class Recipe:
    """Everything that makes a difference in the image; sorted, without doubles.

    Args:
        ingredients: Our distributions, with fingerprints of their content.
        dockerfile: Its text.
    """

    base_image: str
    dockerfile: str
    ingredients: Sequence[Ingredient]
    apt: Sequence[str]
    npm: Sequence[str]
    pip: Sequence[str]

    @property
    def image(self) -> str:
        """The image's name with its tag."""
        return f"{REPOSITORY}:{self.tag}"

    @property
    def tag(self) -> str:
        """12 hex digits."""
        facts = [
            PROTOCOL,
            self.dockerfile,
            [[one.name, one.extra, one.fingerprint] for one in self.ingredients],
            self.apt,
            self.npm,
            self.pip,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def recipe_of(parts: Iterable[SandboxPart], base_image: str) -> Recipe:
    """Put the parts of all plugins together, with the runner. Reads the metadata and the files of distributions.

    Raises:
        SandboxRefused: A part names a distribution that is not installed, or a package by what is no name.
    """
    parts = list(parts)
    wanted = {*ALWAYS, *((part.distribution, "runner") for part in parts if part.distribution)}
    return Recipe(
        base_image=base_image,
        dockerfile=dockerfile_text(),
        ingredients=[ingredient(name, extra) for name, extra in sorted(wanted)],
        apt=_names("Debian package", _APT, (name for part in parts for name in part.apt)),
        npm=_names("npm package", _NPM, (name for part in parts for name in part.npm)),
        pip=_names("Python requirement", _PIP, (name for part in parts for name in part.pip)),
    )


def dockerfile_text() -> str:
    """Return the Dockerfile; `container/image/Dockerfile` in the repository is the same file."""
    return Path(__file__).with_name("Dockerfile").read_text(encoding="utf-8")


def _names(what: str, pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    found = sorted(set(names))
    for name in found:
        if not pattern.fullmatch(name):
            raise SandboxRefused(
                f"a plugin wants the {what} {name!r}, which is no name of one; uninstall or mend the plugin"
            )
    return found
