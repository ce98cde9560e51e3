"""`ncl plugins`: lists, describes, enables and disables plugins."""

from __future__ import annotations

from typing import Any

import click
from nanoclaw_client.errors import TransportError
from nanoclaw_client.output import print_error, print_json, print_text
from nanoclaw_client.rendering import render
from nanoclaw_wire.answer_frames import data_frame

from nanoclaw_cli import client
from nanoclaw_cli.invocation import Invocation, shell_command
from nanoclaw_core import NotFound

ANSWER_S = 5.0


def complete_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of installed plugins that begin with the typed text."""
    from nanoclaw_cli.plugin_info import installed_names

    return [name for name in installed_names() if name.startswith(incomplete)]


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> int:
    """List the installed plugins and their state; enable or disable them."""
    if context.invoked_subcommand is None:
        code: int = context.invoke(list_plugins)
        return code
    return 0


@plugins.command("list", short_help="List the installed plugins.")
@click.pass_obj
def list_plugins(invocation: Invocation) -> int:
    """List the installed plugins with their states and the reasons.

    The states: active, disabled (in nanoclaw.toml), needs settings (names them), failed (gives the reason). Exits 0 in
    every state; `ncl doctor` exits 1 if a plugin failed.
    """
    try:
        frame = client.ask(invocation.home, ["plugins", "list"], {}, invocation.environment, timeout_s=ANSWER_S)
    except client.NoHost:
        frame = data_frame(_local_reports(invocation))
    if invocation.as_json:
        print_json(frame)
    elif frame["ok"]:
        print_text(render(frame.get("data")))
    else:
        print_error(frame["error"]["code"], frame["error"]["message"], as_json=False)
    return 0 if frame["ok"] else 1


@plugins.command(short_help="Describe one plugin.")
@click.argument("name", shell_complete=complete_names)
@click.pass_obj
def info(invocation: Invocation, name: str) -> int:
    """Describe one plugin: its distribution, its parts, its settings, and its state in a running host.

    The plugin is not imported.
    """
    from nanoclaw_cli.plugin_info import describe_plugin
    from nanoclaw_cli.record_text import format_record

    record = describe_plugin(name, invocation.home, invocation.environment) | _host_state(name, invocation)
    if invocation.as_json:
        print_json(data_frame(record))
    else:
        print_text(format_record(record))
    return 0


@plugins.command(short_help="Enable a plugin.")
@click.argument("name", shell_complete=complete_names)
@click.pass_obj
def enable(invocation: Invocation, name: str) -> int:
    """Remove a plugin from core.disabled_plugins in nanoclaw.toml. The host loads it at its next start."""
    return _toggle(invocation, name, on=True)


@plugins.command(short_help="Disable a plugin.")
@click.argument("name", shell_complete=complete_names)
@click.pass_obj
def disable(invocation: Invocation, name: str) -> int:
    """Add a plugin to core.disabled_plugins in nanoclaw.toml. The host skips it from its next start."""
    return _toggle(invocation, name, on=False)


def _toggle(invocation: Invocation, name: str, *, on: bool) -> int:
    from nanoclaw_cli import plugin_info
    from nanoclaw_cli.host_process import host_process_of
    from nanoclaw_cli.plugin_toggle import disabled_plugins, toggle

    home, path = invocation.home, plugin_info.settings_file(invocation.home)
    if not path.exists():
        create = shell_command("init", home, invocation.environment)
        raise NotFound(f"{path} does not exist. Create an instance with `{create}`.")
    known = plugin_info.installed_names()
    if on:
        known += disabled_plugins(path)  # an uninstalled plugin can still be in the list
    if name not in known:
        raise NotFound(plugin_info.unknown_plugin(name, known))
    changed = toggle(path, name, on=on)
    state, runs = "enabled" if on else "disabled", host_process_of(home / "run") is not None
    if invocation.as_json:
        result = {"name": name, "is_disabled": not on, "changed": changed, "file": str(path), "host_runs": runs}
        print_json(data_frame(result))
    elif changed:
        when = "after you restart the running host" if runs else "at the next start of the host"
        print_text(f"{name} is {state} in {path}. The change takes effect {when}.")
    else:
        print_text(f"{name} is already {state}; nothing was changed.")
    return 0


def _host_state(name: str, invocation: Invocation) -> dict[str, Any]:
    """Return the state of a plugin in the running host, and its reason."""
    try:
        frame = client.ask(invocation.home, ["plugins", "list"], {}, invocation.environment, timeout_s=ANSWER_S)
    except TransportError as error:  # the metadata is worth showing without an answer, too
        return {"state": "unknown", "reason": str(error)}
    reports = frame.get("data") if frame["ok"] else None
    report = next((report for report in reports if report["name"] == name), None) if isinstance(reports, list) else None
    if report is None:
        return {"state": "not loaded", "reason": "the running host started before the plugin was installed"}
    return {"state": report["state"], "reason": report["reason"]}


def _local_reports(invocation: Invocation) -> list[dict[str, str]]:
    """Return the reports of the installed plugins without a host. Print a warning for each fault that concerns all.

    No migration runs here, so a plugin with a failing migration seems to work.
    """
    from nanoclaw_cli.log_setup import silence_logs
    from nanoclaw_core import Settings, SettingsError, load_settings, plugin_reports

    silence_logs()
    settings = Settings(home=invocation.home)
    try:
        settings = load_settings(invocation.home, invocation.environment)
    except SettingsError as error:
        print_text(f"warning: {error}", to_stderr=True)
    plugins = plugin_reports(settings, invocation.environment)
    if plugins.error is not None:
        print_text(f"warning: {plugins.error}", to_stderr=True)
    return [report.as_json_object() for report in plugins.value or ()]
