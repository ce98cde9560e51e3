"""`ncl logs`: prints the end of the host's or of a runner's log, and follows it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
from attrs import frozen
from nanoclaw_wire.layout import Layout, is_safe_name

from nanoclaw_cli import log_entries
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_core import NotFound

BLOCK_BYTES = 65_536
MAX_TAIL_BYTES = 16_000_000  # a sandbox may write lines of any length
POLL_S = 0.25  # a person who watches does not notice it


@frozen(kw_only=True)
class Source:
    """A log and the format of its lines.

    Args:
        path: The file's path.
        open: Opens the current file.
        show: Formats whole lines for printing.
    """

    path: Path
    open: Callable[[], BinaryIO]
    show: Callable[[bytes], bytes]


@click.command()
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="Number of lines.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until ctrl-c.")
@click.option("--session", metavar="ID", help="Show this session's sandbox log; ids are `session=…` values.")
@click.pass_obj
def logs(invocation: Invocation, lines: int, follow: bool, session: str | None) -> None:
    """Show the end of the host's log; with --json, one JSON object per line."""
    source = _host_log(invocation) if session is None else _runner_log(invocation, session)
    with source.open() as file:
        _print(source.show(last_lines(file, lines)))
        if follow:
            _follow(source, file)


def last_lines(file: BinaryIO, number: int) -> bytes:
    """Return the last lines of a file without reading all of it, and leave the file at its end."""
    end = position = file.seek(0, os.SEEK_END)
    tail = b""
    while position > 0 and tail.count(b"\n") <= number and end - position < MAX_TAIL_BYTES:
        step = min(BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        tail = file.read(step) + tail
    file.seek(end)
    return b"".join(tail.splitlines(keepends=True)[-number:]) if number else b""


def _host_log(invocation: Invocation) -> Source:
    path = invocation.home / "logs" / "nanoclaw.log"
    if not path.exists():
        start = shell_command("serve", invocation.home, invocation.environment)
        raise NotFound(f"there is no log yet: {path}. Start a host with `{start}`; it writes the log.")
    show = _renderer(log_entries.host_entries, log_entries.as_json) if invocation.as_json else bytes
    return Source(path=path, open=lambda: path.open("rb"), show=show)


def _runner_log(invocation: Invocation, session: str) -> Source:
    directory = invocation.home / "sessions" / session
    if not is_safe_name(session) or not directory.is_dir():
        raise NotFound(f"there is no session {session!r}. `ncl logs` shows the ids of sessions.")
    path = Layout(directory / "in", directory / "out").runner_log
    if not os.path.lexists(path):
        raise NotFound(f"there is no log yet: {path}. The session's first sandbox writes it.")
    write = log_entries.as_json if invocation.as_json else log_entries.as_text
    return Source(path=path, open=lambda: _open_untrusted(path), show=_renderer(log_entries.runner_entries, write))


def _open_untrusted(path: Path) -> BinaryIO:
    """Open a file that a sandbox wrote. Links, pipes and other special files are refused."""
    from nanoclaw_wire.untrusted_files import open_regular_file

    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return open(open_regular_file(folder, path.name), "rb")
    except OSError as error:
        raise NotFound(f"the log {path} cannot be read: {error.strerror}. A sandbox may have replaced it.") from error
    finally:
        os.close(folder)


def _renderer(
    read: Callable[[Iterable[str]], Iterator[dict[str, Any]]], write: Callable[[dict[str, Any]], str]
) -> Callable[[bytes], bytes]:
    def show(text: bytes) -> bytes:
        lines = text.decode("utf-8", "replace").split("\n")
        return "".join(f"{write(entry)}\n" for entry in read(lines[:-1] if lines[-1] == "" else lines)).encode()

    return show


def _follow(source: Source, file: BinaryIO) -> None:
    partial = b""  # an incomplete last line
    while True:
        whole, newline, partial = (partial + file.read(BLOCK_BYTES)).rpartition(b"\n")
        _print(source.show(whole + newline))
        if newline:
            continue
        if _was_rotated(source.path, file):
            _print(source.show(partial + file.read()))  # lines since the read above
            partial = b""
            file.close()
            file = source.open()
        else:
            time.sleep(POLL_S)


def _print(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _was_rotated(path: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # renamed, and the new file does not exist yet
