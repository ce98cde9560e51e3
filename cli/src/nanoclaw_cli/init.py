"""`ncl init`: make an instance directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from nanoclaw_client.output import print_json

from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation, as_typed

OPERATOR = "terminal:operator"
TERMINAL_ROOM = ("terminal", "local")


def create(home: Path, environment: Mapping[str, str]) -> list[str]:
    """Create an instance that answers on the terminal; return and raise as `nanoclaw_core.initialise` does."""
    from nanoclaw_core import initialise

    return initialise(home, environment=environment, room=TERMINAL_ROOM, owner=OPERATOR)


@click.command()
@click.pass_obj
def init(invocation: Invocation) -> int:
    """Make an instance directory: settings, an agent group, the terminal's wiring, and you as its owner.

    What is there already stays as it is, so running it again does no harm.
    """
    made = create(invocation.home, invocation.environment)
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
