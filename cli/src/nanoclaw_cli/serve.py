"""`ncl serve`: runs a host in the foreground. Signals and log set-up are here, because an embedded host has neither."""

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
from nanoclaw_client.output import print_text

from nanoclaw_cli import breaker
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_core import SettingsError

if TYPE_CHECKING:
    from nanoclaw_core import Host, Settings

REQUIRED = {"channels": "channel", "providers": "provider", "runtimes": "sandbox runtime", "gateway": "model gateway"}
log = logging.getLogger(__name__)
STOP_S = 10.0  # service managers wait at least this long before they kill


@click.command()
@click.pass_obj
def serve(invocation: Invocation) -> int:
    """Run the host in the foreground. SIGTERM or ctrl-c stops it in order within 10 s.

    A second signal ends the process at once. The log goes to stderr and to logs/nanoclaw.log in the instance directory.
    """
    from nanoclaw_cli.log_setup import configure_logs
    from nanoclaw_core import is_instance, load_settings

    home = invocation.home
    if not is_instance(home):
        create = shell_command("init", home, invocation.environment)
        raise SettingsError(f"there is no instance in {home}. Create one with `{create}`.")
    settings = load_settings(home, invocation.environment)
    configure_logs(settings.core.log_level, home / "logs", invocation.environment, to_stderr=True)
    _raise_file_limit()
    return asyncio.run(_ForegroundHost(invocation, settings).run())


class _ForegroundHost:
    """One host, from its start to the signal that stops it."""

    def __init__(self, invocation: Invocation, settings: Settings) -> None:
        self._invocation, self._settings = invocation, settings
        self._signalled_at: float | None = None
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
            if self._signalled_at is None:
                raise
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self._signalled_at is not None:
            print_text(f"stopped in {time.monotonic() - self._signalled_at:.2f} s", to_stderr=True)
        return 0

    async def _host(self) -> None:
        from nanoclaw_core import Host

        try:
            async with Host(
                self._settings, environment=self._invocation.environment, before_start=self._wait_for_breaker
            ) as host:
                self._ready = True
                if not self._stop.is_set():
                    print_text(ready_line(host, self._invocation))
                    sys.stdout.flush()
                    self._print_missing_kinds(host)
                await self._stop.wait()
        finally:
            if self._signalled_at is not None:  # a requested stop is no crash, even if it failed
                breaker.reset(self._breaker)

    async def _wait_for_breaker(self) -> None:
        delay_s = breaker.count_start(self._breaker)
        if delay_s:
            log.warning("start delayed after repeated starts", extra={"seconds": delay_s})
            await asyncio.sleep(delay_s)

    def _print_missing_kinds(self, host: Host) -> None:
        status = host.status()
        missing = [kind for key, kind in REQUIRED.items() if not status[key]]
        if missing:
            doctor = shell_command("doctor", self._invocation.home, self._invocation.environment)
            print_text(f"missing: {', '.join(missing)}. `{doctor}` shows what to do.", to_stderr=True)

    def _on_signal(self, number: int, work: asyncio.Task[None]) -> None:
        if self._stop.is_set():
            os._exit(128 + number)  # a second signal; the next start cleans up
        self._signalled_at = time.monotonic()
        self._stop.set()
        if not self._ready:
            work.cancel()
        asyncio.get_running_loop().call_later(STOP_S, _force_exit)


def ready_line(host: Host, invocation: Invocation) -> str:
    """Return the line that announces a ready host."""
    home = invocation.home
    channels = _counted(len(host.status().get("channels") or ()), "channel")
    failed = sum(report.state.value == "failed" for report in host.plugins.reports())
    plugins = shell_command("plugins", home, invocation.environment)
    failures = f" · {_counted(failed, 'plugin')} failed; `{plugins}` shows why" if failed else ""
    return f"ready in {host.started_in_s:.2f} s · home {home} · {channels}{failures} · stop with ctrl-c"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _force_exit() -> None:
    fault = f"not everything stopped within {STOP_S:g} s; the process was ended"
    print_text(f"error: {fault}. See `ncl logs`.", to_stderr=True)
    os._exit(1)


def _raise_file_limit() -> None:
    """Raise the limit of open files to the hard limit. Each session needs a few, and the soft limit is often 1 024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems refuse the limit that they report
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
