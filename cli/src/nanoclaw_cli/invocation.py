"""The context of a command: everything besides its own arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Invocation(NamedTuple):
    """The call of `ncl`. Contributed commands get it with `click.pass_obj`.

    Args:
        home: The instance directory, absolute. It may not exist yet.
        as_json: True if a program reads the output.
        environment: The variables to use instead of `os.environ`.
    """

    home: Path
    as_json: bool
    environment: Mapping[str, str]


def home_directory(chosen: str | None, environment: Mapping[str, str]) -> Path:
    """Return the instance directory: `--home`, `$NANOCLAW_HOME` or `~/.nanoclaw`."""
    raw = chosen or environment.get("NANOCLAW_HOME") or "~/.nanoclaw"
    return Path(os.path.abspath(os.path.expanduser(raw)))  # noqa: PTH100, PTH111  # Path.resolve would follow links


def shell_command(command: str, home: Path, environment: Mapping[str, str]) -> str:
    """Return `ncl <command>` for the user to type.

    It has `--home` unless the directory is the default.
    """
    return f"ncl {command}" if home == home_directory(None, environment) else f"ncl --home {home} {command}"
