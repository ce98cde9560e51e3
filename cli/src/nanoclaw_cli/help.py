"""`ncl help`: lists the local commands and the verbs of a running host."""

from __future__ import annotations

import click
from nanoclaw_client.help_text import overview
from nanoclaw_client.output import print_json, print_text
from nanoclaw_wire.answer_frames import data_frame

from nanoclaw_cli import client, commands, verbs
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_core import PluginError, __version__

ANSWER_S = 5.0
USAGE = f"""\
nanoclaw {__version__} runs people's AI assistants on your own machine.

Usage: ncl [--home PATH] [--json] COMMAND …

  --home PATH  use this instance directory (default: $NANOCLAW_HOME, else ~/.nanoclaw)
  --json       print answers as JSON frames
  --version    print the version

Local commands (ncl COMMAND --help explains one):
"""


@click.command()
@click.argument("words", nargs=-1)
@click.pass_obj
def show_help(invocation: Invocation, words: tuple[str, ...]) -> int:
    """List the commands, or explain one."""
    if words:
        return _explain(invocation, words)
    local = {command.name: _summary(command) for command in commands.known()}
    try:
        frame = client.ask(invocation.home, ["help"], {}, invocation.environment, timeout_s=ANSWER_S)
        from_host = frame.get("data") if frame["ok"] else None
    except client.NoHost:
        from_host = None
    if invocation.as_json:
        print_json(data_frame({"commands": local, "host": from_host}))
        return 0
    width = max(map(len, local))
    print_text(USAGE + "\n".join(f"  {name:<{width}}  {text}" for name, text in local.items()))
    print_text("")
    if from_host is None:
        start = shell_command("serve", invocation.home, invocation.environment)
        print_text(f"No host runs on {invocation.home}, so its verbs are not listed. Start one with `{start}`.")
    else:
        print_text("Verbs of the host (ncl help RESOURCE explains them):")
        print_text(overview(from_host, without=local))
    return 0


def _explain(invocation: Invocation, words: tuple[str, ...]) -> int:
    command = commands.find(words[0])
    if command is not None:
        return commands.run(command, [*words[1:], "--help"], invocation)
    return verbs.run([*words, "help"], invocation)


def _summary(command: commands.LocalCommand) -> str:
    try:
        return command.summary or commands.load(command).get_short_help_str(limit=80)
    except PluginError as error:
        return f"({error})"
