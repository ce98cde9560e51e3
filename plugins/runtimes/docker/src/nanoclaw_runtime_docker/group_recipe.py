"""The recipe of an agent group's image: the agent image, and packages on top of it. Pure functions.

The names of packages are in files of the build context, one a line, and the Dockerfile depends only on the kinds of
packages. So no name can add a line, a command or an option to a build that runs as root (⚠50, ⚠52).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from attrs import frozen

from nanoclaw_core import GroupId, Packages
from nanoclaw_runtime_docker.container import AGENT_USER
from nanoclaw_runtime_docker.recipe import REPOSITORY

GROUP_REPOSITORY = f"{REPOSITORY}-group"

# Not the labels of containers: a container inherits the labels of its image, and those labels mark it for reaping.
BUILDER_LABEL, GROUP_LABEL = "nanoclaw.image.instance", "nanoclaw.image.group"
BASE_LABEL = "nanoclaw.image.base"

_FILES = {"apt": "apt.txt", "npm": "npm.txt", "pip": "requirements.txt"}

_HEAD = """\
# The image of an agent group. `ncl groups restart <group> --rebuild` creates its build context.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}

# The package indexes, if not the default ones, and the user of the agent image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG NPM_CONFIG_REGISTRY
ARG BASE_USER
USER root
"""

_LAYERS = {
    # apt reads an unknown name as a pattern ("p.thon3") or as a request to remove a package ("python3-").
    "apt": """
COPY apt.txt /tmp/nanoclaw/
RUN set -eu; apt-get update; cd /tmp/nanoclaw; apt-cache pkgnames --all-names > known.txt; \\
    grep -Fxv -f known.txt apt.txt > unknown.txt || [ $? -eq 1 ]; \\
    if [ -s unknown.txt ]; then sed 's/^/there is no Debian package named /' unknown.txt >&2; exit 1; fi; \\
    DEBIAN_FRONTEND=noninteractive xargs -a apt.txt apt-get install -y --no-install-recommends; \\
    rm -rf /var/lib/apt/lists/* /tmp/nanoclaw
""",
    "npm": """
COPY npm.txt /tmp/nanoclaw/
RUN set -eu; cd /tmp/nanoclaw; \\
    if ! command -v npm > /dev/null; then \\
        apt-get update; \\
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nodejs npm; \\
        rm -rf /var/lib/apt/lists/*; \\
    fi; \\
    xargs -a npm.txt npm install --global --no-fund --no-audit --cache /tmp/nanoclaw/cache; \\
    rm -rf /tmp/nanoclaw
""",
    # Installed packages keep their versions, because the runner uses the same environment.
    "pip": """
COPY requirements.txt /tmp/nanoclaw/
RUN set -eu; cd /tmp/nanoclaw; python -m pip list --disable-pip-version-check --format=freeze > installed.txt; \\
    python -m pip install --no-cache-dir --disable-pip-version-check \\
        --constraint installed.txt --requirement requirements.txt; \\
    python -c "import nanoclaw_runner, nanoclaw_wire"; \\
    rm -rf /tmp/nanoclaw
""",
}

_TAIL = """
USER ${BASE_USER}
"""


@frozen(kw_only=True)
class BaseImage:
    """The agent image in the engine.

    Args:
        id: Changes with the image's content, even if the name stays.
        user: The user that it runs as; empty if it names none.
    """

    name: str
    id: str
    user: str


@frozen(kw_only=True)
class GroupRecipe:
    """Everything that determines an agent group's image."""

    base: BaseImage
    instance_id: str
    group_id: GroupId
    packages: Packages

    @property
    def image(self) -> str:
        """The image's name; its tag is the group's id and a hash of the recipe."""
        facts = [self.base.name, self.base.id, self.group_id, self.dockerfile, self._packages_by_kind()]
        fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        return f"{GROUP_REPOSITORY}:{self.group_id}-{fingerprint}"

    @property
    def dockerfile(self) -> str:
        """The Dockerfile's text, with a layer for each kind of package in the recipe."""
        return "".join([_HEAD, *(_LAYERS[kind] for kind in self._packages_by_kind()), _TAIL])

    @property
    def files(self) -> Mapping[str, bytes]:
        """The build context: only the Dockerfile and the names of packages."""
        named = {
            _FILES[kind]: "".join(f"{name}\n" for name in names) for kind, names in self._packages_by_kind().items()
        }
        return {name: text.encode() for name, text in {"Dockerfile": self.dockerfile, **named}.items()}

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels: its builder, its group and the id of its base."""
        return {BUILDER_LABEL: self.instance_id, GROUP_LABEL: self.group_id, BASE_LABEL: self.base.id}

    @property
    def arguments(self) -> Mapping[str, str]:
        """The build arguments that do not come from the settings."""
        return {"BASE_IMAGE": self.base.name, "BASE_USER": self.base.user or f"{AGENT_USER}:{AGENT_USER}"}

    def _packages_by_kind(self) -> Mapping[str, Sequence[str]]:
        by_kind = {kind: sorted(set(getattr(self.packages, kind))) for kind in _FILES}
        return {kind: names for kind, names in by_kind.items() if names}


def group_of(image: str) -> str | None:
    """Return the agent group in an image's name, or None if it is not a group's image."""
    repository, _, tag = image.rpartition(":")
    return tag.rpartition("-")[0] or None if repository == GROUP_REPOSITORY else None


def rebuild_command(group: str) -> str:
    """Return the command that rebuilds an agent group's image."""
    return f"ncl groups restart {group} --rebuild"
