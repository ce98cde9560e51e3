"""How an agent group's sandboxes are made: `ncl groups config …` and `ncl groups restart`.

Without this plugin: sandboxes are made as the configs say that are there; nobody can change them from `ncl`.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Service, Verb, hookimpl
from nanoclaw_resource_configs.backfill import Backfill
from nanoclaw_resource_configs.restart import Restarts
from nanoclaw_resource_configs.verbs import config_verbs


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Offer the verbs."""
    yield from config_verbs()
    yield Restarts().verb()


@hookimpl
def nanoclaw_services() -> Iterator[Service]:
    """Offer what gives a config to agent groups that have none."""
    yield Service(name="configs", connect=lambda _settings, context: Backfill(context))
