"""`ncl init`: creates an instance directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from nanoclaw_client.output import print_json, print_text
from nanoclaw_wire.answer_frames import data_frame

from nanoclaw_cli.invocation import Invocation, shell_command

OPERATOR = "terminal:operator"
TERMINAL_ROOM = ("terminal", "local")


def create(home: Path, environment: Mapping[str, str]) -> list[str]:
    """Create an instance that answers on the terminal.

    Result and errors are those of `nanoclaw_core.initialise`.
    """
    from nanoclaw_core import initialise

    return initialise(home, environment=environment, room=TERMINAL_ROOM, owner=OPERATOR)


@click.command()
@click.pass_obj
def init(invocation: Invocation) -> int:
    """Create an instance directory: settings, an agent group, the terminal's wiring, and you as its owner.

    Existing files stay unchanged, so a second run does no harm.
    """
    created = create(invocation.home, invocation.environment)
    if invocation.as_json:
        print_json(data_frame({"home": str(invocation.home), "created": created}))
    elif created:
        print_text(f"created in {invocation.home}:")
        for name in created:
            print_text(f"  {name}")
        chat, serve = (shell_command(word, invocation.home, invocation.environment) for word in ("chat", "serve"))
        print_text(f"next: run `{chat}` or `{serve}`")
    else:
        print_text(f"{invocation.home} is already complete; nothing was changed")
    return 0
