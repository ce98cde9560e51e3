"""Processes without isolation: pure functions that apply a sandbox's description as far as possible."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from nanoclaw_core import Mount, SandboxSpec

PARENT_WATCHDOG = Path(__file__).with_name("parent_watchdog.py")


def command(spec: SandboxSpec) -> list[str]:
    """Return the command line: our Python under the parent watchdog."""
    return [sys.executable, "-I", "-S", str(PARENT_WATCHDOG), sys.executable, *spec.arguments]


def environment(spec: SandboxSpec, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, with the sandbox's paths replaced by the host's.

    Nothing is mounted. So a value that is a mount's target, or a path below it, becomes the path below its source.
    """
    return {name: host_path(value, spec.mounts) for name, value in {**defaults, **spec.environment}.items()}


def host_path(value: str, mounts: Sequence[Mount]) -> str:
    """Return the host's path for a path of the sandbox, or any other value unchanged."""
    if not value.startswith("/"):
        return value
    path = PurePosixPath(value)
    for mount in sorted(mounts, key=lambda mount: len(mount.target), reverse=True):
        if path.is_relative_to(mount.target):
            return str(mount.source / path.relative_to(mount.target))
    return value
