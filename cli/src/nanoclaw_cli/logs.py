"""`ncl logs`: the end of the host's log, and what comes after it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

import click

from nanoclaw_cli.invocation import Invocation, as_typed
from nanoclaw_core import NotFound

BLOCK_BYTES = 65_536
LOOK_S = 0.25  # a person watches; nobody minds a quarter of a second


@click.command(short_help="Show the host's log.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="How many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on until ctrl-c.")
@click.pass_obj
def logs(invocation: Invocation, lines: int, follow: bool) -> None:
    """Show the end of the host's log."""
    path = invocation.home / "logs" / "nanoclaw.log"
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        start = as_typed("serve", invocation.home, invocation.environment)
        raise NotFound(f"there is no log yet: {path}. A host writes it; start one with `{start}`.") from error
    with file:
        _show(last_lines(file, lines))
        if follow:
            _follow(path, file)


def last_lines(file: BinaryIO, number: int) -> bytes:
    """Return the last lines of a file, reading no more of it than they need, and leave the file at its end."""
    position = file.seek(0, os.SEEK_END)
    tail = b""
    while position > 0 and tail.count(b"\n") <= number:
        step = min(BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        tail = file.read(step) + tail
    file.seek(0, os.SEEK_END)
    return b"".join(tail.splitlines(keepends=True)[-number:]) if number else b""


def _follow(path: Path, file: BinaryIO) -> None:
    while True:
        _show(file.read())
        if _was_rotated(path, file):
            file.close()
            file = path.open("rb")
        else:
            time.sleep(LOOK_S)


def _show(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _was_rotated(path: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # between the renaming and the new file
