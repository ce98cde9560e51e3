"""Where things are inside the sandbox, as the environment says."""

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
        agent: The agent group's folder, where the model works.
        extra: Holds what else was mounted, one directory each; need not exist.
    """

    files: Layout
    agent: Path
    extra: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Workspace:
        """Read the `NANOCLAW_*_DIR` variables; those that are missing stand for the sandbox's usual paths."""

        def directory(variable: str, usual: str) -> Path:
            return Path(environment.get(variable) or usual)

        return cls(
            files=Layout(
                directory(layout.IN_DIR_VARIABLE, layout.SANDBOX_IN),
                directory(layout.OUT_DIR_VARIABLE, layout.SANDBOX_OUT),
            ),
            agent=directory(layout.AGENT_DIR_VARIABLE, layout.SANDBOX_AGENT),
            extra=directory(layout.EXTRA_DIR_VARIABLE, layout.SANDBOX_EXTRA),
        )

    def extra_directories(self) -> list[Path]:
        """Return what was mounted for the agent beside its folder, in name order."""
        if not self.extra.is_dir():
            return []
        return sorted(path for path in self.extra.iterdir() if path.is_dir())
