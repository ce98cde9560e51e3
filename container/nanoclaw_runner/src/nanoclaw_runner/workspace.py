"""The directories inside the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen
from nanoclaw_wire import layout
from nanoclaw_wire.layout import Layout


@frozen(kw_only=True)
class Workspace:
    """The directories of one sandbox.

    Args:
        files: The session's own files.
        agent: The agent group's folder, in which the model works.
        extra: The parent directory of further mounts. It may be missing.
    """

    files: Layout
    agent: Path
    extra: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Workspace:
        """Read the `NANOCLAW_*_DIR` variables; a missing one means the sandbox's default path."""

        def directory(variable: str, default: str) -> Path:
            return Path(environment.get(variable) or default)

        return cls(
            files=Layout(
                directory(layout.IN_DIR_VARIABLE, layout.SANDBOX_IN),
                directory(layout.OUT_DIR_VARIABLE, layout.SANDBOX_OUT),
            ),
            agent=directory(layout.AGENT_DIR_VARIABLE, layout.SANDBOX_AGENT),
            extra=directory(layout.EXTRA_DIR_VARIABLE, layout.SANDBOX_EXTRA),
        )

    def extra_directories(self) -> list[Path]:
        """Return the further mounts of the agent, in name order."""
        if not self.extra.is_dir():
            return []
        return sorted(path for path in self.extra.iterdir() if path.is_dir())
