"""What a command is told beside its own arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Invocation(NamedTuple):
    """How `ncl` was called. Commands that a distribution contributes get it with `click.pass_obj`.

    Args:
        home: The instance directory, absolute; it may not exist yet.
        as_json: True where a program reads the output.
        environment: To be read instead of `os.environ`.
    """

    home: Path
    as_json: bool
    environment: Mapping[str, str]


def home_directory(chosen: str | None, environment: Mapping[str, str]) -> Path:
    """Return the instance directory: `--home`, else `$NANOCLAW_HOME`, else `~/.nanoclaw`."""
    raw = chosen or environment.get("NANOCLAW_HOME") or "~/.nanoclaw"
    return Path(os.path.abspath(os.path.expanduser(raw)))  # noqa: PTH100, PTH111  # Path.resolve would follow links


def as_typed(command: str, home: Path, environment: Mapping[str, str]) -> str:
    """Return `ncl <command>` as a person here would type it, naming the home where it is not the usual one."""
    return f"ncl {command}" if home == home_directory(None, environment) else f"ncl --home {home} {command}"
