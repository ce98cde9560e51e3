"""`ncl plugins`: what is installed, whether it works, and turning it off and on."""

from __future__ import annotations

from typing import Any

import click
from nanoclaw_client.errors import TransportError
from nanoclaw_client.output import print_error, print_json
from nanoclaw_client.rendering import render

from nanoclaw_cli import client
from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation, as_typed
from nanoclaw_core import NotFound

ANSWER_S = 5.0


def complete_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the installed plugins whose names go on from what is typed."""
    from nanoclaw_cli.plugin_info import installed_names

    return [name for name in installed_names() if name.startswith(incomplete)]


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> int:
    """Say which plugins are installed and whether they work; turn them off and on."""
    if context.invoked_subcommand is None:
        code: int = context.invoke(list_plugins)
        return code
    return 0


@plugins.command("list", short_help="List the installed plugins.")
@click.pass_obj
def list_plugins(invocation: Invocation) -> int:
    """List the installed plugins with their state, and why one does not work.

    The states: active, disabled (in nanoclaw.toml), needs settings (and which), failed (and why). Exits 0 whatever the
    states are; `ncl doctor` exits 1 where one failed.
    """
    try:
        frame = client.ask(invocation.home, ["plugins", "list"], {}, invocation.environment, timeout_s=ANSWER_S)
    except client.NoHost:
        frame = frame_of(_found_here(invocation))
    if invocation.as_json:
        print_json(frame)
    elif frame["ok"]:
        click.echo(render(frame.get("data")))
    else:
        print_error(frame["error"]["code"], frame["error"]["message"], as_json=False)
    return 0 if frame["ok"] else 1


@plugins.command(short_help="Tell all about one plugin.")
@click.argument("name", shell_complete=complete_names)
@click.pass_obj
def info(invocation: Invocation, name: str) -> int:
    """Tell what is known of one plugin: where it comes from, what it adds, its settings, and how a running host has it.

    Nothing of the plugin is imported.
    """
    from nanoclaw_cli.layout import lay_out
    from nanoclaw_cli.plugin_info import facts

    found = facts(name, invocation.home, invocation.environment) | _state(name, invocation)
    if invocation.as_json:
        print_json(frame_of(found))
    else:
        click.echo(lay_out(found))
    return 0


@plugins.command(short_help="Load a plugin again that is disabled.")
@click.argument("name", shell_complete=complete_names)
@click.pass_obj
def enable(invocation: Invocation, name: str) -> int:
    """Take a plugin out of core.disabled_plugins in nanoclaw.toml. The host loads it when it starts next."""
    return _switch(invocation, name, on=True)


@plugins.command(short_help="Do not load a plugin.")
@click.argument("name", shell_complete=complete_names)
@click.pass_obj
def disable(invocation: Invocation, name: str) -> int:
    """Put a plugin into core.disabled_plugins in nanoclaw.toml. The host leaves it out when it starts next."""
    return _switch(invocation, name, on=False)


def _switch(invocation: Invocation, name: str, *, on: bool) -> int:
    from nanoclaw_cli import plugin_info
    from nanoclaw_cli.host_process import host_process_of
    from nanoclaw_cli.plugin_toggle import disabled_in, toggle

    home, path = invocation.home, plugin_info.settings_file(invocation.home)
    if not path.exists():
        make = as_typed("init", home, invocation.environment)
        raise NotFound(f"there is no {path}; make an instance with `{make}`")
    known = plugin_info.installed_names() + (disabled_in(path) if on else [])  # what is gone can still be in the list
    if name not in known:
        raise NotFound(plugin_info.unknown(name, known))
    changed = toggle(path, name, on=on)
    state, runs = "enabled" if on else "disabled", host_process_of(home / "run") is not None
    if invocation.as_json:
        told = {"name": name, "is_disabled": not on, "changed": changed, "file": str(path), "host_runs": runs}
        print_json(frame_of(told))
    elif changed:
        when = "when the host is restarted; one runs now" if runs else "when a host starts next"
        click.echo(f"{name} is {state} in {path}. It takes effect {when}.")
    else:
        click.echo(f"{name} is {state} already; nothing was changed.")
    return 0


def _state(name: str, invocation: Invocation) -> dict[str, Any]:
    """Return how a running host has a plugin."""
    try:
        frame = client.ask(invocation.home, ["plugins", "list"], {}, invocation.environment, timeout_s=ANSWER_S)
    except TransportError as error:  # what metadata says is true with a host that hangs, too
        return {"state": "unknown", "reason": str(error)}
    reports = frame.get("data") if frame["ok"] else None
    named = [one for one in reports if one["name"] == name] if isinstance(reports, list) else []
    if not named:
        return {"state": "not loaded", "reason": "the host that runs was started before it was installed"}
    return {"state": named[0]["state"], "reason": named[0]["reason"]}


def _found_here(invocation: Invocation) -> list[dict[str, str]]:
    from nanoclaw_cli.checks import installed
    from nanoclaw_cli.log_lines import silence_logs

    silence_logs()
    reports, trouble = installed(invocation.home, invocation.environment)
    if trouble:
        click.echo(f"warning: {trouble}", err=True)
    return [report.as_json_object() for report in reports]
