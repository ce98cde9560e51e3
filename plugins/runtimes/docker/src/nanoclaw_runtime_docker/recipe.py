"""The recipe of the agent image, and the image's tag, a hash of the recipe.

The order of plugins does not change the tag, so the tag alone tells whether an image is stale. The tag leaves out the
base image and the package indexes: the operator chooses them at build time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen
from nanoclaw_wire import PROTOCOL

from nanoclaw_core import SandboxRefused, SandboxRequirements
from nanoclaw_runtime_docker.distributions import DistributionSource, distribution_source

REPOSITORY = "nanoclaw-agent"
BASE_DISTRIBUTIONS = (("nanoclaw-wire", ""), ("nanoclaw-client", ""), ("nanoclaw-runner", ""))
_APT = re.compile(r"[a-z0-9][a-z0-9.+-]*(=[A-Za-z0-9.+~:-]+)?")
_NPM = re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*(@[A-Za-z0-9.^~<>=*+-]+)?")
_PIP = re.compile(r"[A-Za-z0-9][^\n\r]*")


@frozen(kw_only=True)
class Recipe:
    """Everything that determines the agent image, sorted and without duplicates.

    Args:
        dockerfile: The Dockerfile's text.
        distributions: Our distributions, with fingerprints of their content.
    """

    base_image: str
    dockerfile: str
    distributions: Sequence[DistributionSource]
    apt: Sequence[str]
    npm: Sequence[str]
    pip: Sequence[str]

    @property
    def image(self) -> str:
        """The image's name with its tag."""
        return f"{REPOSITORY}:{self.tag}"

    @property
    def tag(self) -> str:
        """The image's tag, 12 hex digits."""
        facts = [
            PROTOCOL,
            self.dockerfile,
            [[source.name, source.extra, source.fingerprint] for source in self.distributions],
            self.apt,
            self.npm,
            self.pip,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def make_recipe(requirements: Iterable[SandboxRequirements], base_image: str) -> Recipe:
    """Combine the requirements of all plugins and the runner. Reads the metadata and the files of distributions.

    Raises:
        SandboxRefused: A plugin requires a distribution that is not installed, or a package with a malformed name.
    """
    requirements = list(requirements)
    names = {*BASE_DISTRIBUTIONS, *((need.distribution, "runner") for need in requirements if need.distribution)}
    return Recipe(
        base_image=base_image,
        dockerfile=dockerfile_text(),
        distributions=[distribution_source(name, extra) for name, extra in sorted(names)],
        apt=_valid_names("Debian package", _APT, (name for need in requirements for name in need.apt)),
        npm=_valid_names("npm package", _NPM, (name for need in requirements for name in need.npm)),
        pip=_valid_names("Python requirement", _PIP, (name for need in requirements for name in need.pip)),
    )


def dockerfile_text() -> str:
    """Return the Dockerfile; `container/image/Dockerfile` in the repository is the same file."""
    return Path(__file__).with_name("Dockerfile").read_text(encoding="utf-8")


def _valid_names(kind: str, pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    unique = sorted(set(names))
    for name in unique:
        if not pattern.fullmatch(name):
            raise SandboxRefused(
                f"a plugin requires a {kind} with an invalid name, got {name!r}. Update or uninstall it."
            )
    return unique
