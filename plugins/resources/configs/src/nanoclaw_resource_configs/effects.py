"""What people are told about a config: who decides what it leaves open, and when a change takes effect. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from nanoclaw_core import ContainerConfig
from nanoclaw_resource_configs.changes import LIMITS, packages_of

_LEFT_TO: Mapping[str, str] = {
    "provider": "the session, else `provider` in nanoclaw.toml",
    "model": "the provider",
    "effort": "the provider",
    "image_tag": "the runtime: the image that all agents have",
    "assistant_name": "the name of the agent group",
    "max_messages_per_prompt": "nanoclaw: 10",
    "network": "`network` in nanoclaw.toml",
    "runtime": "`runtime` in nanoclaw.toml",
}


def left_to(config: ContainerConfig) -> dict[str, str]:
    """Return who decides what a config leaves open, by its column or limit."""
    scalars = {name: who for name, who in _LEFT_TO.items() if getattr(config, name) is None}
    return scalars | {name: f"`{name}` in nanoclaw.toml" for name in LIMITS if name not in config.limits}


def takes_effect(before: ContainerConfig, after: ContainerConfig) -> str:
    """Say when a change takes effect; nothing is restarted by a change."""
    restart = f"`ncl groups restart {after.agent_group_id}"
    if evolve(before, updated_at=after.updated_at) == after:
        return "Nothing changed."
    if packages_of(before) != packages_of(after) and packages_of(after):
        return f"With {restart} --rebuild`: it makes the image with the packages; until then all stays as it is."
    said = f"With the next start of a sandbox; {restart}` restarts those that run."
    if before.cli_scope != after.cli_scope:
        return f"{said} cli_scope counts at once for what the agent asks of ncl."
    return said
