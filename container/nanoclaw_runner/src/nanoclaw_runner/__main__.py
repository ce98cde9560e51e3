"""The runner's program: `python -m nanoclaw_runner`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from nanoclaw_wire.config import read_config
from nanoclaw_wire.exhaustion import is_exhausted, is_out_of_memory
from nanoclaw_wire.layout import PARENT_WATCHDOG_VARIABLE
from nanoclaw_wire.session_files import WrongProtocol

from nanoclaw_runner import logs, plugins
from nanoclaw_runner.runner import ExitCode, Runner
from nanoclaw_runner.workspace import Workspace

log = logging.getLogger(__name__)

STOP_WITHIN_S = 2.4  # the host waits 3 s; rows that are not settled by then stay pending


def main() -> int:
    """Run until the host stops the runner; return the exit code."""
    workspace = Workspace.from_environment(os.environ)
    try:
        config = read_config(workspace.files.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"nanoclaw_runner: {workspace.files.config}: cannot be read: {error}", file=sys.stderr)
        return ExitCode.NO_ROOM if is_exhausted(error) else ExitCode.WRONG_CONFIG

    watchdog = os.environ.pop(PARENT_WATCHDOG_VARIABLE, None)

    async def serve() -> ExitCode:
        runner = Runner(
            workspace=workspace, config=config, plugins=plugins.load_installed(), environment=dict(os.environ)
        )
        level = os.environ.get("NANOCLAW_LOG_LEVEL", "INFO")
        logs.configure(runner.correlation_id, workspace.files.runner_log, level)
        _stop_on_signals(runner)
        _end_with_host(watchdog)
        return await runner.run()

    try:
        return asyncio.run(serve())
    except WrongProtocol as error:
        print(
            f"nanoclaw_runner: {error}. The sandbox image and the host differ. Build the image again.", file=sys.stderr
        )
        return ExitCode.WRONG_PROTOCOL
    except Exception as error:  # the process ends in any case; unacknowledged rows stay pending
        log.exception("runner failed")
        return ExitCode.NO_ROOM if is_exhausted(error) and not is_out_of_memory(error) else ExitCode.FAILED


def _stop_on_signals(runner: Runner) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        runner.stop()
        # The host must not wait for a provider that does not stop: everything that counts is on disk.
        loop.call_later(STOP_WITHIN_S, os._exit, ExitCode.DONE)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _end_with_host(watchdog: str | None) -> None:
    """Exit when the host is gone, because the next host starts another runner for the session."""
    if watchdog is None:
        return
    descriptor = int(watchdog)
    os.set_inheritable(descriptor, False)

    def exit_if_closed() -> None:
        if not os.read(descriptor, 1):
            os._exit(ExitCode.FAILED)

    asyncio.get_running_loop().add_reader(descriptor, exit_if_closed)


if __name__ == "__main__":
    sys.exit(main())
