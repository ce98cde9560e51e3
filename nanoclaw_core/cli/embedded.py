"""A host inside a command, for as long as the command runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

from nanoclaw_core import logs
from nanoclaw_core.cli.invocation import Invocation
from nanoclaw_core.host import Host
from nanoclaw_core.instance import initialise
from nanoclaw_core.settings import FILE_NAME, load_settings


@contextlib.asynccontextmanager
async def running_host(invocation: Invocation) -> AsyncIterator[Host]:
    """Run a host on the instance directory of a command, making the directory first where there is none.

    Its log goes to the instance's log file alone, so that the terminal belongs to the command.

    Raises:
        AlreadyRunning: Another host has the directory.
        SettingsError: nanoclaw.toml is not what it should be.
    """
    home = invocation.home
    if not (home / FILE_NAME).exists():
        initialise(home, environment=invocation.environment)
        print(f"made a new instance in {home}", file=sys.stderr)
    settings = load_settings(home, invocation.environment)
    logs.configure(settings.core.log_level, home / "logs", to_stderr=False)
    async with Host(settings, environment=invocation.environment) as host:
        yield host
