"""Runs `ncl` as a separate process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

NCL = (sys.executable, "-m", "nanoclaw_cli")
WAIT_S = 60.0


def ncl(home: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and wait until it exits."""
    return subprocess.run(
        [*NCL, "--home", str(home), *arguments],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )


@contextlib.contextmanager
def serving(home: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run `ncl serve` on a new instance and kill it at the end of the block.

    `first_line` waits until it is ready.
    """
    assert ncl(home, "init").returncode == 0
    process = subprocess.Popen(
        [*NCL, "--home", str(home), "serve"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """Wait for the ready line and return it."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], WAIT_S)
    assert readable, "no ready line"
    return process.stdout.readline()


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str, float]:
    """Signal a process; return its exit code, its stderr output and its stop time in seconds."""
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    return process.returncode, errors, time.monotonic() - began
