"""What the image of one agent group is made of: the image that all agents have, and packages on top of it. Pure.

The names of packages travel as files of the build context, one a line, and the Dockerfile depends on nothing but which
kinds of them there are. So no name can add a line, a command or an option to a build that runs as root (⚠50, ⚠52).
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

# Not the labels of containers: a container has the labels of its image too, and what carries those is reaped.
MADE_BY_LABEL, MADE_FOR_LABEL = "nanoclaw.image.instance", "nanoclaw.image.group"
MADE_ON_LABEL = "nanoclaw.image.base"

_FILES = {"apt": "apt.txt", "npm": "npm.txt", "pip": "requirements.txt"}

_HEAD = """\
# The image of an agent group. Its context is put together by `ncl groups restart <group> --rebuild`.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}

# Where packages come from, if not from where they usually do, and who runs in the image that all agents have.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG NPM_CONFIG_REGISTRY
ARG BASE_USER
USER root
"""

_LAYERS = {
    # What apt does not know by name it takes for a pattern ("p.thon3") or for an order to remove ("python3-").
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
    # What is there stays in its version: the runner lives in the same environment.
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
    """The image that all agents have, as the engine knows it.

    Args:
        id: Changes with what is in it, also where the name stays.
        user: Who runs in it; empty where it does not say.
    """

    name: str
    id: str
    user: str


@frozen(kw_only=True)
class GroupRecipe:
    """Everything that makes a difference in the image of an agent group."""

    base: BaseImage
    instance_id: str
    group_id: GroupId
    packages: Packages

    @property
    def image(self) -> str:
        """The image's name; its tag is the group's id and a hash of the rest."""
        facts = [self.base.name, self.base.id, self.group_id, self.dockerfile, self._wanted()]
        fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        return f"{GROUP_REPOSITORY}:{self.group_id}-{fingerprint}"

    @property
    def dockerfile(self) -> str:
        """Its text: a layer for each kind of packages that is wanted."""
        return "".join([_HEAD, *(_LAYERS[kind] for kind in self._wanted()), _TAIL])

    @property
    def files(self) -> Mapping[str, bytes]:
        """The build context: the Dockerfile, names of packages, and nothing else."""
        named = {_FILES[kind]: "".join(f"{name}\n" for name in names) for kind, names in self._wanted().items()}
        return {name: text.encode() for name, text in {"Dockerfile": self.dockerfile, **named}.items()}

    @property
    def labels(self) -> Mapping[str, str]:
        """By which it is found again, and by which it shows that it was made on another image."""
        return {MADE_BY_LABEL: self.instance_id, MADE_FOR_LABEL: self.group_id, MADE_ON_LABEL: self.base.id}

    @property
    def arguments(self) -> Mapping[str, str]:
        """The build arguments that are not the operator's."""
        return {"BASE_IMAGE": self.base.name, "BASE_USER": self.base.user or f"{AGENT_USER}:{AGENT_USER}"}

    def _wanted(self) -> Mapping[str, Sequence[str]]:
        found = {kind: sorted(set(getattr(self.packages, kind))) for kind in _FILES}
        return {kind: names for kind, names in found.items() if names}


def group_of(image: str) -> str | None:
    """Return the agent group that an image was made for, by its name; None where it is no such image."""
    repository, _, tag = image.rpartition(":")
    return tag.rpartition("-")[0] or None if repository == GROUP_REPOSITORY else None


def rebuild_command(group: str) -> str:
    """Return what makes the image of an agent group anew."""
    return f"ncl groups restart {group} --rebuild"
