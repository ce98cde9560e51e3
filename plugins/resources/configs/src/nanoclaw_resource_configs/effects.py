"""Explains a config: the fallback of open settings, and when a change counts.

All functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from nanoclaw_core import ContainerConfig
from nanoclaw_resource_configs.changes import LIMITS, packages_of

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
