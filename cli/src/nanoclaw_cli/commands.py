"""The local commands: ours, and those that installed distributions contribute.

A distribution contributes one by an entry point of the group `nanoclaw.commands`, whose name is the command and whose
value is a click command. They are found by metadata; only the one that was asked for is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from nanoclaw_cli.invocation import Invocation
from nanoclaw_core import PluginError

if TYPE_CHECKING:
    import click

GROUP = "nanoclaw.commands"


class Command(NamedTuple):
    """A local command before it is imported.

    Args:
        target: Where it is, `module:attribute`.
        source: Names its metadata directory; empty for ours.
        summary: One line for the list of commands; empty where only the command itself knows it.
    """

    name: str
    target: str
    source: str = ""
    summary: str = ""


OWN = {
    command.name: command
    for command in (
        Command("init", "nanoclaw_cli.init:init", summary="Make an instance directory, or complete one."),
        Command("serve", "nanoclaw_cli.serve:serve", summary="Run the host in the foreground."),
        Command("status", "nanoclaw_cli.status:status", summary="Say what the host does now."),
        Command("doctor", "nanoclaw_cli.doctor:doctor", summary="Say what is missing or wrong, and what to do."),
        Command(
            "plugins",
            "nanoclaw_cli.plugins:plugins",
            summary="Say which plugins are installed and whether they work; turn them off and on.",
        ),
        Command("logs", "nanoclaw_cli.logs:logs", summary="Show the host's log, or that of a session."),
        Command("completion", "nanoclaw_cli.completion.command:completion", summary="Make a shell complete ncl."),
        Command("help", "nanoclaw_cli.help:show_help", summary="Say what commands there are."),
    )
}


def find(name: str) -> Command | None:
    """Return the local command of a name; ours come first and cannot be replaced."""
    if name in OWN:
        return OWN[name]
    return next((command for command in contributed() if command.name == name), None)


def known() -> list[Command]:
    """Return all local commands, ours first; a name that is taken twice appears once."""
    found = dict(OWN)
    for command in sorted(contributed()):
        found.setdefault(command.name, command)
    return list(found.values())


def contributed(path: Iterable[str] | None = None) -> list[Command]:
    """Read the entry points of the installed distributions.

    This is what `importlib.metadata` does, without its 60 ms of imports: they would be most of what a verb takes.
    """
    found: list[Command] = []
    for directory in dict.fromkeys(sys.path if path is None else path):
        for metadata in _metadata_directories(directory):
            text = _read(os.path.join(metadata, "entry_points.txt"))  # noqa: PTH118  # pathlib costs as much as all this
            if f"[{GROUP}]" in text:
                found.extend(_parse(text, os.path.basename(metadata)))  # noqa: PTH119
    return found


def load(command: Command) -> click.Command:
    """Import a command.

    Raises:
        PluginError: It cannot be imported, or is no click command; the message names where it comes from.
    """
    import click

    module, _, attribute = command.target.partition(":")
    origin = f"the command {command.name!r} of {command.source or 'nanoclaw-cli'}"
    try:
        loaded = getattr(import_module(module), attribute)
    except Exception as error:  # the load fence: a contributed module may raise anything
        why = f"{type(error).__name__}: {error}"
        raise PluginError(f"{origin} cannot be loaded: {why}. Reinstall or remove it.") from error
    if not isinstance(loaded, click.Command):
        raise PluginError(f"{origin} is no click command but {loaded!r}. Reinstall or remove it.")
    return loaded


def run(command: Command, arguments: Sequence[str], invocation: Invocation) -> int:
    """Run a command with its arguments; what it returns, if it is a number, is the exit code."""
    code = load(command).main(
        args=list(arguments), prog_name=f"ncl {command.name}", standalone_mode=False, obj=invocation
    )
    return code if isinstance(code, int) else 0


def _metadata_directories(directory: str) -> list[str]:
    try:
        with os.scandir(directory or ".") as entries:
            return sorted(entry.path for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:
        return []  # sys.path names zip files and directories that do not exist


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _parse(text: str, metadata: str) -> list[Command]:
    name, _, rest = metadata.rpartition(".")[0].partition("-")
    found: list[Command] = []
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{GROUP}]"
        elif inside and "=" in line and not line.startswith("#"):
            key, _, target = line.partition("=")
            found.append(Command(key.strip(), target.split("[")[0].strip(), f"{name.replace('_', '-')} {rest}"))
    return found
