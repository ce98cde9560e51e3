"""The local commands: built-in ones, and those of installed distributions.

An entry point of the group `nanoclaw.commands` contributes a command: its name is the command's name, its value a
click command. Commands are found by metadata, and only the requested command is imported.
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


class LocalCommand(NamedTuple):
    """A local command before its import.

    Args:
        name: The word after `ncl`.
        target: Its location, `module:attribute`.
        source: Its distribution and version; empty for a built-in command.
        summary: One line for the list of commands; empty if only the imported command has it.
    """

    name: str
    target: str
    source: str = ""
    summary: str = ""


BUILT_IN = {
    command.name: command
    for command in (
        LocalCommand("init", "nanoclaw_cli.init:init", summary="Create an instance directory, or complete one."),
        LocalCommand("serve", "nanoclaw_cli.serve:serve", summary="Run the host in the foreground."),
        LocalCommand("status", "nanoclaw_cli.status:status", summary="Show the state of the host."),
        LocalCommand("doctor", "nanoclaw_cli.doctor:doctor", summary="Find problems, and show how to fix them."),
        LocalCommand(
            "plugins",
            "nanoclaw_cli.plugins:plugins",
            summary="List the installed plugins and their state; enable or disable them.",
        ),
        LocalCommand("logs", "nanoclaw_cli.logs:logs", summary="Show the log of the host or of a session."),
        LocalCommand(
            "completion", "nanoclaw_cli.completion.command:completion", summary="Print a shell's completion script."
        ),
        LocalCommand("help", "nanoclaw_cli.help:show_help", summary="List the commands, or explain one."),
    )
}


def find(name: str) -> LocalCommand | None:
    """Return the local command of a name, or None.

    Built-in commands cannot be replaced.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    return next((command for command in contributed() if command.name == name), None)


def known() -> list[LocalCommand]:
    """Return all local commands, built-in ones first.

    A name that is used twice appears once.
    """
    by_name = dict(BUILT_IN)
    for command in sorted(contributed()):
        by_name.setdefault(command.name, command)
    return list(by_name.values())


def contributed(path: Iterable[str] | None = None) -> list[LocalCommand]:
    """Read the contributed commands from the metadata of installed distributions.

    `importlib.metadata` does the same, but its import takes 60 ms, which would be most of a verb's time.
    """
    commands: list[LocalCommand] = []
    for directory in dict.fromkeys(sys.path if path is None else path):
        for metadata in _metadata_directories(directory):
            text = _read(os.path.join(metadata, "entry_points.txt"))  # noqa: PTH118  # pathlib is too slow here
            if f"[{GROUP}]" in text:
                commands.extend(_parse(text, os.path.basename(metadata)))  # noqa: PTH119
    return commands


def load(command: LocalCommand) -> click.Command:
    """Import a command.

    Raises:
        PluginError: It cannot be imported, or is not a click command. The message names its distribution.
    """
    import click

    module, _, attribute = command.target.partition(":")
    origin = f"the command {command.name!r} of {command.source or 'nanoclaw-cli'}"
    try:
        loaded = getattr(import_module(module), attribute)
    except Exception as error:  # the import's error boundary: a contributed module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{origin} cannot be loaded: {reason}. Reinstall or remove it.") from error
    if not isinstance(loaded, click.Command):
        raise PluginError(f"{origin} must be a click command, got {loaded!r}. Reinstall or remove it.")
    return loaded


def run(command: LocalCommand, arguments: Sequence[str], invocation: Invocation) -> int:
    """Run a command with its arguments. Return its result if it is a number, else 0."""
    code = load(command).main(
        args=list(arguments), prog_name=f"ncl {command.name}", standalone_mode=False, obj=invocation
    )
    return code if isinstance(code, int) else 0


def _metadata_directories(directory: str) -> list[str]:
    try:
        with os.scandir(directory or ".") as entries:
            return sorted(entry.path for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:
        return []  # sys.path may contain zip files and missing directories


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _parse(text: str, metadata: str) -> list[LocalCommand]:
    name, _, rest = metadata.rpartition(".")[0].partition("-")
    commands: list[LocalCommand] = []
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{GROUP}]"
        elif inside and "=" in line and not line.startswith("#"):
            key, _, target = line.partition("=")
            commands.append(LocalCommand(key.strip(), target.split("[")[0].strip(), f"{name.replace('_', '-')} {rest}"))
    return commands
