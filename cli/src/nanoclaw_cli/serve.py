"""`ncl serve`: a host in the foreground. Signals and log set-up are here, as an embedded host must have neither."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import click

from nanoclaw_cli import breaker
from nanoclaw_cli.invocation import Invocation, as_typed
from nanoclaw_core import SettingsError

if TYPE_CHECKING:
    from nanoclaw_core import Host, Settings

NEEDED = {"channels": "channel", "providers": "provider", "runtimes": "sandbox runtime", "gateway": "model gateway"}
log = logging.getLogger(__name__)
STOP_S = 10.0  # what a service manager waits at least before it kills


@click.command()
@click.pass_obj
def serve(invocation: Invocation) -> int:
    """Run the host in the foreground until SIGTERM or ctrl-c, which stops everything in order within 10 s.

    A second signal ends it at once. The log goes to stderr and to logs/nanoclaw.log in the instance directory.
    """
    from nanoclaw_cli.log_lines import configure_logs
    from nanoclaw_core import is_instance, load_settings

    home = invocation.home
    if not is_instance(home):
        make = as_typed("init", home, invocation.environment)
        raise SettingsError(f"there is no instance in {home}; make one with `{make}`")
    settings = load_settings(home, invocation.environment)
    configure_logs(settings.core.log_level, home / "logs", to_stderr=True)
    _raise_file_limit()
    return asyncio.run(_Serving(invocation, settings).run())


class _Serving:
    """One host between its start and the signal that ends it."""

    def __init__(self, invocation: Invocation, settings: Settings) -> None:
        self._invocation, self._settings = invocation, settings
        self._asked_at: float | None = None
        self._breaker = invocation.home / "data" / "circuit-breaker.json"
        self._stop = asyncio.Event()
        self._ready = False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._host())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number, work)
        try:
            await work
        except asyncio.CancelledError:
            if self._asked_at is None:
                raise
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self._asked_at is not None:
            click.echo(f"stopped in {time.monotonic() - self._asked_at:.2f} s", err=True)
        return 0

    async def _host(self) -> None:
        from nanoclaw_core import Host

        try:
            async with Host(
                self._settings, environment=self._invocation.environment, before_start=self._wait_for_breaker
            ) as host:
                self._ready = True
                if not self._stop.is_set():
                    click.echo(ready_line(host, self._invocation))
                    sys.stdout.flush()
                    self._say_what_is_missing(host)
                await self._stop.wait()
        finally:
            if self._asked_at is not None:  # somebody asked it to stop: that is no crash, however the stop went
                breaker.reset(self._breaker)

    async def _wait_for_breaker(self) -> None:
        delay_s = breaker.count_start(self._breaker)
        if delay_s:
            log.warning("starting late, after starts in quick succession", extra={"seconds": delay_s})
            await asyncio.sleep(delay_s)

    def _say_what_is_missing(self, host: Host) -> None:
        status = host.status()
        missing = [what for key, what in NEEDED.items() if not status[key]]
        if missing:
            doctor = as_typed("doctor", self._invocation.home, self._invocation.environment)
            click.echo(f"missing: {', '.join(missing)}; `{doctor}` says what to do", err=True)

    def _on_signal(self, number: int, work: asyncio.Task[None]) -> None:
        if self._stop.is_set():
            os._exit(128 + number)  # asked twice: what is left behind is tidied up by the next start
        self._asked_at = time.monotonic()
        self._stop.set()
        if not self._ready:
            work.cancel()
        asyncio.get_running_loop().call_later(STOP_S, _give_up)


def ready_line(host: Host, invocation: Invocation) -> str:
    """Return the one line that says that a host is ready."""
    home = invocation.home
    channels = _counted(len(host.status().get("channels") or ()), "channel")
    failed = sum(report.state.value == "failed" for report in host.plugins.reports())
    why = as_typed("plugins", home, invocation.environment)
    trouble = f" · {_counted(failed, 'plugin')} failed; `{why}` says why" if failed else ""
    return f"ready in {host.started_in_s:.2f} s · home {home} · {channels}{trouble} · stop with ctrl-c"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _give_up() -> None:
    click.echo(f"error: not everything stopped within {STOP_S:g} s; ended anyway, see `ncl logs`", err=True)
    os._exit(1)


def _raise_file_limit() -> None:
    """Use as many open files as the system allows: each session holds a few, and the soft limit is often 1 024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems say more than they give; the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
