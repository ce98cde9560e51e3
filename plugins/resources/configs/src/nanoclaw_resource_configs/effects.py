"""Explains a config: the fallback of open settings, what a change changes, and when it counts.

All functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve

from nanoclaw_core import ContainerConfig
from nanoclaw_resource_configs.changes import LIMITS, mount_name, packages_of
from nanoclaw_resource_configs.masks import MASK, masked_server

_LEFT_TO: Mapping[str, str] = {
    "provider": "the session, else `provider` in nanoclaw.toml",
    "model": "the provider",
    "effort": "the provider",
    "image_tag": "the runtime: the image that all agents share",
    "assistant_name": "the name of the agent group",
    "max_messages_per_prompt": "nanoclaw: 10",
    "network": "`network` in nanoclaw.toml",
    "runtime": "`runtime` in nanoclaw.toml",
}


def left_to(config: ContainerConfig) -> dict[str, str]:
    """Return the fallback of each column or limit that a config leaves open."""
    scalars = {name: fallback for name, fallback in _LEFT_TO.items() if getattr(config, name) is None}
    return scalars | {name: f"`{name}` in nanoclaw.toml" for name in LIMITS if name not in config.limits}


def changed(before: ContainerConfig, after: ContainerConfig) -> dict[str, Any]:
    """Return each setting that differs, before and after the change; None if it is absent.

    Servers, mounts and limits have an entry each. A new server shows its secrets, because the human who reads this
    decides about exactly them.
    """
    old, new = _entries(before), _entries(after)
    differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: _pair(name, old.get(name), new.get(name)) for name in differing}


def _entries(config: ContainerConfig) -> dict[str, Any]:
    values = {name: value for name, value in asdict(config, recurse=False).items() if name != "updated_at"}
    servers, limits, mounts = (values.pop(name) for name in ("mcp_servers", "limits", "additional_mounts"))
    values |= {f"mcp_servers.{name}": server for name, server in servers.items()}
    values |= {f"limits.{name}": limit for name, limit in limits.items()}
    return values | {f"additional_mounts.{mount_name(mount)}": mount for mount in mounts}


def _pair(name: str, old: Any, new: Any) -> dict[str, Any]:
    if not name.startswith("mcp_servers.") or old is None:
        return {"before": old, "after": new}
    shown = None if new is None else {**new, "env": _new_variables(old.get("env", {}), new["env"])}
    return {"before": masked_server(old), "after": shown}


def _new_variables(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{MASK} (unchanged)" if old.get(name) == value else value for name, value in new.items()}


def takes_effect(before: ContainerConfig, after: ContainerConfig) -> str:
    """Return a sentence on when a change takes effect. A change restarts no sandbox."""
    restart = f"`ncl groups restart {after.agent_group_id}"
    if evolve(before, updated_at=after.updated_at) == after:
        return "Nothing changed."
    if packages_of(before) != packages_of(after) and packages_of(after):
        return f"After {restart} --rebuild`, which builds an image with the packages. Until then nothing changes."
    sentence = f"At the next start of a sandbox. {restart}` restarts the running ones."
    if before.cli_scope != after.cli_scope:
        return f"{sentence} cli_scope takes effect at once."
    return sentence
