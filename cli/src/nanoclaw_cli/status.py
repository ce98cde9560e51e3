"""`ncl status`: what the host does now, or that none runs."""

from __future__ import annotations

from typing import Any

import click
from nanoclaw_client.rendering import render
from nanoclaw_client.telling import print_json

from nanoclaw_cli import client
from nanoclaw_cli.failures import frame_of
from nanoclaw_cli.invocation import Invocation, as_typed

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
        click.echo(_overview(data))
    return 0 if frame["ok"] else 1


def _overview(data: dict[str, Any]) -> str:
    """Lay out a nested answer: single values first, then each list or table under its name."""
    single = dict(_line(key, value) for key, value in data.items() if not isinstance(value, list | dict))
    width = max(map(len, single), default=0)
    parts = ["\n".join(f"{name:<{width}}  {text}" for name, text in single.items())]
    for key, value in data.items():
        if isinstance(value, dict) and value:
            value = [value] if all(not isinstance(inner, list | dict) for inner in value.values()) else value
        if isinstance(value, list | dict) and value:
            parts.append(f"{key.replace('_', ' ')}\n{_indented(value)}")
    return "\n\n".join(parts)


def _indented(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(f"  {item}" for item in value)
    return "\n".join(f"  {line}" for line in render(value).splitlines())


def _line(key: str, value: Any) -> tuple[str, str]:
    """Name a single value as people read it, with its unit where the key ends in one."""
    unit = " s" if key.endswith("_s") else ""
    return key.removesuffix("_s").replace("_", " "), _plain(value) + unit


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)
