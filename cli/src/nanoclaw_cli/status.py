"""`ncl status`: shows the state of the host, or that no host runs."""

from __future__ import annotations

from typing import Any

import click
from nanoclaw_client.output import print_json, print_text
from nanoclaw_wire.answer_frames import data_frame

from nanoclaw_cli import client
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_cli.record_text import format_record

ANSWER_S = 5.0


@click.command()
@click.pass_obj
def status(invocation: Invocation) -> int:
    """Show the state of the host. Exits 0 if a host runs, else 1, as systemctl does."""
    home, environment = invocation.home, invocation.environment
    try:
        frame = client.ask(home, ["status"], {}, environment, timeout_s=ANSWER_S)
    except client.NoHost:
        if home.is_file():
            raise
        remedy = shell_command("serve" if home.exists() else "init", home, environment)
        data: dict[str, Any] = {"state": "stopped", "home": str(home), "remedy": remedy}
        if invocation.as_json:
            print_json(data_frame(data))
        else:
            note = "" if home.exists() else ", which does not exist yet"
            print_text(f"no host runs on {home}{note}. Run `{remedy}`.")
        return 1
    data = frame.get("data") or {}
    if invocation.as_json:
        print_json(frame)
    else:
        print_text(format_record(data))
    return 0 if frame["ok"] else 1
