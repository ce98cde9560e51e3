"""Runs a host inside a command, for as long as the command runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from nanoclaw_cli.init import create
from nanoclaw_cli.invocation import Invocation
from nanoclaw_cli.log_setup import configure_logs
from nanoclaw_core import Host, is_instance, load_settings


@contextlib.asynccontextmanager
async def running_host(invocation: Invocation, *, progress: Callable[[str], None]) -> AsyncIterator[Host]:
    """Run a host on a command's instance directory.

    Create the instance first if it is missing.

    The log goes only to the instance's log file, so that the terminal belongs to the command.

    Args:
        invocation: The command's invocation.
        progress: Receives a line for a new instance and for each failed plugin.

    Raises:
        AlreadyRunning: Another host uses the directory.
        SettingsError: nanoclaw.toml is invalid.
    """
    home = invocation.home
    if not is_instance(home):
        create(home, invocation.environment)
        progress(f"created a new instance in {home}")
    settings = load_settings(home, invocation.environment)
    configure_logs(settings.core.log_level, home / "logs", invocation.environment, to_stderr=False)
    async with Host(settings, environment=invocation.environment) as host:
        for report in host.plugins.reports():
            if report.state.value == "failed":  # a plugin without its settings is not expected to work
                progress(f"plugin {report.name} does not work: {report.reason}")
        yield host
