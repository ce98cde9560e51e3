"""`ncl plugins`: what is installed and whether it works, asked of the host, or found out here where none runs."""

from __future__ import annotations

import click
from nanoclaw_client.rendering import render
from nanoclaw_client.telling import print_json, tell

from nanoclaw_cli import client
from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation

ANSWER_S = 5.0


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> int:
    """Say which plugins are installed and whether they work."""
    if context.invoked_subcommand is None:
        code: int = context.invoke(list_plugins)
        return code
    return 0


@plugins.command("list", short_help="List the installed plugins.")
@click.pass_obj
def list_plugins(invocation: Invocation) -> int:
    """List the installed plugins with their state, and the reason where one failed."""
    try:
        frame = client.ask(invocation.home, ["plugins", "list"], {}, invocation.environment, timeout_s=ANSWER_S)
    except client.NoHost:
        frame = frame_of(_found_here(invocation))
    if invocation.as_json:
        print_json(frame)
    elif frame["ok"]:
        click.echo(render(frame.get("data")))
    else:
        tell(frame["error"]["code"], frame["error"]["message"], as_json=False)
    return 0 if frame["ok"] else 1


def _found_here(invocation: Invocation) -> list[dict[str, str]]:
    from nanoclaw_cli.examination import installed
    from nanoclaw_cli.silence import keep_logs_silent

    keep_logs_silent()
    reports, trouble = installed(invocation.home, invocation.environment)
    if trouble:
        click.echo(f"warning: {trouble}", err=True)
    return [report.as_json_object() for report in reports]
