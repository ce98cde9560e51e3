"""`ncl init`: make an instance directory."""

from __future__ import annotations

import click
from nanoclaw_client.output import print_json

from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation, as_typed


@click.command()
@click.pass_obj
def initialise(invocation: Invocation) -> int:
    """Make an instance directory: settings, an agent group, the terminal's wiring, and you as its owner.

    What is there already stays as it is, so running it again does no harm.
    """
    from nanoclaw_cli.first_instance import initialise as make

    made = make(invocation.home, environment=invocation.environment)
    if invocation.as_json:
        print_json(frame_of({"home": str(invocation.home), "created": made}))
    elif made:
        click.echo(f"made in {invocation.home}:")
        for name in made:
            click.echo(f"  {name}")
        chat, serve = (as_typed(word, invocation.home, invocation.environment) for word in ("chat", "serve"))
        click.echo(f"go on with `{chat}`, or with `{serve}`")
    else:
        click.echo(f"{invocation.home} is complete already; nothing was changed")
    return 0
