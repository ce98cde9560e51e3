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
from nanoclaw_wire.log_lines import MAX_READ_BYTES
from nanoclaw_wire.names import HOST_LOG, SESSIONS
from nanoclaw_wire.untrusted_paths import open_directory, open_regular_file

from nanoclaw_cli.colours import has_colours
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_core import NotFound

BLOCK_BYTES = 65_536
MAX_TAIL_BYTES = 16_000_000  # a sandbox may write lines of any length
MAX_OLDER_FILES = 9  # more than the host and the runners keep
POLL_S = 0.25  # a person who watches does not notice it


@frozen(kw_only=True)
class Source:
    """A log.

    Args:
        path: The path of its current file. A rotation renames the file to `<path>.1`, and `.1` to `.2`.
        open: Opens a file of the log, by its path.
    """

    path: Path
    open: Callable[[Path], BinaryIO]


@click.command()
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="Number of lines.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until ctrl-c.")
@click.option("--session", metavar="ID", help="Show this session's sandbox log; ids are `session=…` values.")
@click.pass_obj
def logs(invocation: Invocation, lines: int, follow: bool, session: str | None) -> None:
    """Show the end of the host's log; with --json, one JSON object per line."""
    source = _host_log(invocation) if session is None else _runner_log(invocation, session)
    show = _renderer(invocation)
    with source.open(source.path) as file:
        whole, partial = last_lines(file, lines)
        if follow:
            _print(show, whole)
            _follow(source, file, partial, show)
        else:
            _print(show, _last([*whole, *_nonempty(partial)], lines))


def last_lines(file: BinaryIO, number: int) -> tuple[list[bytes], bytes]:
    """Return the last whole lines of a file, and its last line if that has no end yet.

    The function does not read all of the file, and leaves it at its end.
    """
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
    *lines, partial = b"".join(reversed(blocks)).split(b"\n")
    return _last(lines, number), partial


def split_block(partial: bytes, block: bytes) -> tuple[list[bytes], bytes]:
    """Split the next block of a file into whole lines and the incomplete last one.

    A line that is too long to parse loses its end, because a line without an end must not fill the memory.
    """
    *lines, partial = (partial + block).split(b"\n")
    return lines, partial[: MAX_READ_BYTES + 1]


def _host_log(invocation: Invocation) -> Source:
    path = invocation.home / "logs" / HOST_LOG
    if not path.exists():
        start = shell_command("serve", invocation.home, invocation.environment)
        raise NotFound(f"there is no log yet: {path}. Start a host with `{start}`; it writes the log.")
    return Source(path=path, open=lambda file: file.open("rb"))


def _runner_log(invocation: Invocation, session: str) -> Source:
    directory = invocation.home / SESSIONS / session
    if not is_safe_name(session) or not directory.is_dir():
        raise NotFound(f"there is no session {session!r}. `ncl logs` shows the ids of sessions.")
    path = Layout.below(directory).runner_log
    if not os.path.lexists(path):
        raise NotFound(f"there is no log yet: {path}. The session's first sandbox writes it.")
    return Source(path=path, open=_open_untrusted)


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


def _follow(source: Source, file: BinaryIO, partial: bytes, show: Callable[[bytes], str]) -> None:
    """Print the lines that follow, also those of later files. `partial` is the beginning of the first one."""
    successor: BinaryIO | None = None
    while True:
        block = file.read(BLOCK_BYTES)
        lines, partial = split_block(partial, block)
        _print(show, lines)
        if block:
            continue
        if successor is not None:  # the end was read after the rotation, so it is the last one
            _print(show, _nonempty(partial))
            file.close()
            file, partial, successor = successor, b"", None
        elif (successor := _successor(source, file)) is None:
            time.sleep(POLL_S)


def _successor(source: Source, file: BinaryIO) -> BinaryIO | None:
    """Open the file that the log began after this one; None if there is none yet.

    Several rotations may have happened since the last call, so the file may have an older name or none.
    """
    names = [source.path, *(Path(f"{source.path}.{number}") for number in range(1, MAX_OLDER_FILES + 1))]
    own, found = os.fstat(file.fileno()), [_status(name) for name in names]  # the newest file first
    # A rotation begins with the oldest file, so the next older name of a file belongs to its predecessor.
    age = next((age for age, status in enumerate(found) if status and os.path.samestat(status, own)), None)
    if age is None:  # deleted as the oldest file, so the oldest of the younger files follows it
        younger = [age for age, status in enumerate(found) if status and status.st_mtime_ns >= own.st_mtime_ns]
        age = max(younger, default=-1) + 1
    if age == 0 or (expected := found[age - 1]) is None:
        return None  # no rotation, or one that has not finished
    name = names[age - 1]
    try:
        successor = source.open(name)
    except (OSError, NotFound):
        if (now := _status(name)) and os.path.samestat(now, expected):
            raise
        return None  # renamed since it was found
    if os.path.samestat(os.fstat(successor.fileno()), expected):
        return successor
    successor.close()
    return None


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()  # a sandbox may have replaced the file by a link
    except FileNotFoundError:
        return None


def _last(lines: list[bytes], number: int) -> list[bytes]:
    return lines[-number:] if number else []


def _nonempty(line: bytes) -> list[bytes]:
    return [line] if line else []


def _print(show: Callable[[bytes], str], lines: Iterable[bytes]) -> None:
    sys.stdout.buffer.write("".join(f"{show(line)}\n" for line in lines).encode())
    sys.stdout.buffer.flush()
