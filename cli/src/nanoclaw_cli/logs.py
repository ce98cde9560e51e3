"""`ncl logs`: prints the end of the host's or of a runner's log, and follows it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import click
from attrs import frozen
from nanoclaw_wire.layout import Layout, is_safe_name
from nanoclaw_wire.log_lines import MAX_LINE_BYTES
from nanoclaw_wire.untrusted_paths import open_directory, open_regular_file

from nanoclaw_cli.colours import has_colours
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_core import NotFound

BLOCK_BYTES = 65_536
MAX_TAIL_BYTES = 16_000_000  # a sandbox may write lines of any length
POLL_S = 0.25  # a person who watches does not notice it


@frozen(kw_only=True)
class Source:
    """A log. After a rotation another file has its path, so `open` opens the current one."""

    path: Path
    open: Callable[[], BinaryIO]


@click.command()
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="Number of lines.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until ctrl-c.")
@click.option("--session", metavar="ID", help="Show this session's sandbox log; ids are `session=…` values.")
@click.pass_obj
def logs(invocation: Invocation, lines: int, follow: bool, session: str | None) -> None:
    """Show the end of the host's log; with --json, one JSON object per line."""
    source = _host_log(invocation) if session is None else _runner_log(invocation, session)
    show = _renderer(invocation)
    with source.open() as file:
        _print(show, last_lines(file, lines))
        if follow:
            _follow(source, file, show)


def last_lines(file: BinaryIO, number: int) -> list[bytes]:
    """Return the last lines of a file without reading all of it, and leave the file at its end."""
    end = position = file.seek(0, os.SEEK_END)
    blocks: list[bytes] = []
    newlines = 0
    while position > 0 and newlines <= number and end - position < MAX_TAIL_BYTES:
        step = min(BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        blocks.append(file.read(step))
        newlines += blocks[-1].count(b"\n")
    file.seek(end)
    lines = _split_lines(b"".join(reversed(blocks)))
    return lines[-number:] if number else []


def split_block(partial: bytes, block: bytes) -> tuple[list[bytes], bytes]:
    """Split the next block of a file into whole lines and the incomplete last one.

    A line that is too long to parse loses its end, because a line without an end must not fill the memory.
    """
    *lines, partial = (partial + block).split(b"\n")
    return lines, partial[: MAX_LINE_BYTES + 1]


def _host_log(invocation: Invocation) -> Source:
    path = invocation.home / "logs" / "nanoclaw.log"
    if not path.exists():
        start = shell_command("serve", invocation.home, invocation.environment)
        raise NotFound(f"there is no log yet: {path}. Start a host with `{start}`; it writes the log.")
    return Source(path=path, open=lambda: path.open("rb"))


def _runner_log(invocation: Invocation, session: str) -> Source:
    directory = invocation.home / "sessions" / session
    if not is_safe_name(session) or not directory.is_dir():
        raise NotFound(f"there is no session {session!r}. `ncl logs` shows the ids of sessions.")
    path = Layout(directory / "in", directory / "out").runner_log
    if not os.path.lexists(path):
        raise NotFound(f"there is no log yet: {path}. The session's first sandbox writes it.")
    return Source(path=path, open=lambda: _open_untrusted(path))


def _open_untrusted(path: Path) -> BinaryIO:
    """Open a file that a sandbox wrote. Links, pipes and other special files are refused."""
    try:
        with open_directory(path.parent) as folder:
            return open(open_regular_file(folder, path.name), "rb")
    except OSError as error:
        raise NotFound(f"the log {path} cannot be read: {error.strerror}. A sandbox may have replaced it.") from error


def _renderer(invocation: Invocation) -> Callable[[bytes], str]:
    """Return the function that formats a line."""
    from nanoclaw_cli.log_entries import as_json, entry_of

    if invocation.as_json:
        return lambda line: as_json(entry_of(line))
    from nanoclaw_cli.log_console import console_renderer

    render = console_renderer(colours=has_colours(sys.stdout, invocation.environment))
    return lambda line: render(entry_of(line))


def _follow(source: Source, file: BinaryIO, show: Callable[[bytes], str]) -> None:
    partial, is_rotated = b"", False  # an incomplete last line; True if another file has the log's name
    while True:
        block = file.read(BLOCK_BYTES)
        lines, partial = split_block(partial, block)
        _print(show, lines)
        if block:
            continue
        if is_rotated:
            _print(show, [partial] if partial else [])
            file.close()
            file = source.open()
            partial, is_rotated = b"", False
        elif _was_rotated(source.path, file):
            is_rotated = True  # read again, because lines may have come before the rotation
        else:
            time.sleep(POLL_S)


def _split_lines(text: bytes) -> list[bytes]:
    """Split a text into lines. The last line may have no line end."""
    return text.removesuffix(b"\n").split(b"\n") if text else []


def _print(show: Callable[[bytes], str], lines: Iterable[bytes]) -> None:
    sys.stdout.buffer.write("".join(f"{show(line)}\n" for line in lines).encode())
    sys.stdout.buffer.flush()


def _was_rotated(path: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # renamed, and the new file does not exist yet
