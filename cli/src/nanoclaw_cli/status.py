"""`ncl status`: what the host does now, or that none runs."""

from __future__ import annotations

from typing import Any

import click
from nanoclaw_client.output import print_json

from nanoclaw_cli import client
from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation, as_typed
from nanoclaw_cli.layout import lay_out

ANSWER_S = 5.0


@click.command()
@click.pass_obj
def status(invocation: Invocation) -> int:
    """Say what the host does now. Exits 0 where a host runs, 1 where none does (as systemctl does)."""
    home, environment = invocation.home, invocation.environment
    try:
        frame = client.ask(home, ["status"], {}, environment, timeout_s=ANSWER_S)
    except client.NoHost:
        if home.is_file():
            raise
        remedy = as_typed("serve" if home.exists() else "init", home, environment)
        data: dict[str, Any] = {"state": "stopped", "home": str(home), "remedy": remedy}
        if invocation.as_json:
            print_json(frame_of(data))
        else:
            there = "" if home.exists() else ", which does not exist yet"
            click.echo(f"no host runs on {home}{there}; start with `{remedy}`")
        return 1
    data = frame.get("data") or {}
    if invocation.as_json:
        print_json(frame)
    else:
        click.echo(lay_out(data))
    return 0 if frame["ok"] else 1
