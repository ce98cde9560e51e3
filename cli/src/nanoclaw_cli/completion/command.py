"""`ncl completion`: what makes a shell complete `ncl`."""

from __future__ import annotations

from pathlib import Path

import click
from nanoclaw_client.output import print_json

from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation

SHELLS = Path(__file__).parent / "shells"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(invocation: Invocation, shell: str) -> int:
    """Print what makes a shell complete ncl: commands, nouns, verbs and options, as the running host has them.

    \b
    bash   in ~/.bashrc:  source <(ncl completion bash)
    zsh    in ~/.zshrc, after compinit:  source <(ncl completion zsh)
    fish   once:  ncl completion fish > ~/.config/fish/completions/ncl.fish
    """
    script = (SHELLS / f"ncl.{shell}").read_text(encoding="utf-8")
    if invocation.as_json:
        print_json(frame_of(script))
    else:
        click.echo(script, nl=False)
    return 0
