"""Plain processes: no isolation. What can be kept of a description without one, as pure functions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from nanoclaw_core import Mount, SandboxSpec

LEASH = Path(__file__).with_name("leash.py")


def command(spec: SandboxSpec) -> list[str]:
    """Return the command line: our Python under a leash that ends it with the host."""
    return [sys.executable, "-I", "-S", str(LEASH), sys.executable, *spec.arguments]


def environment(spec: SandboxSpec, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, with paths of the sandbox turned into those of the host.

    Nothing is mounted, so a value that equals a mount's target, or lies below it, becomes the place it stands for.
    """
    return {name: host_path(value, spec.mounts) for name, value in {**defaults, **spec.environment}.items()}


def host_path(value: str, mounts: Sequence[Mount]) -> str:
    """Return the host's path for a path of the sandbox; any other text as it is."""
    if not value.startswith("/"):
        return value
    path = PurePosixPath(value)
    for mount in sorted(mounts, key=lambda mount: len(mount.target), reverse=True):
        if path.is_relative_to(mount.target):
            return str(mount.source / path.relative_to(mount.target))
    return value
