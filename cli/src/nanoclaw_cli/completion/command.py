"""`ncl completion`: prints the completion script of a shell."""

from __future__ import annotations

from pathlib import Path

import click
from nanoclaw_client.output import print_json, print_text
from nanoclaw_wire.answer_frames import data_frame

from nanoclaw_cli.invocation import Invocation

SHELLS = Path(__file__).parent / "shells"
HELP = """Print a script that completes local commands and the resources, verbs and options of the running host.

\b
bash   in ~/.bashrc:  source <(ncl completion bash)
zsh    in ~/.zshrc, after compinit:  source <(ncl completion zsh)
fish   once:  ncl completion fish > ~/.config/fish/completions/ncl.fish
"""


@click.command(help=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(invocation: Invocation, shell: str) -> int:
    """Print the completion script of a shell."""
    script = (SHELLS / f"ncl.{shell}").read_text(encoding="utf-8")
    if invocation.as_json:
        print_json(data_frame(script))
    else:
        print_text(script.removesuffix("\n"))
    return 0
