"""The configuration of an agent group's sandboxes: `ncl groups config …` and `ncl groups restart`.

Without this plugin: existing configs still apply, but `ncl` cannot change them.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Service, Verb, hookimpl
from nanoclaw_resource_configs.backfill import Backfill
from nanoclaw_resource_configs.restart import Restarts
from nanoclaw_resource_configs.verbs import config_verbs


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Contribute the config verbs and `groups restart`."""
    yield from config_verbs()
    yield Restarts().verb()


@hookimpl
def nanoclaw_services() -> Iterator[Service]:
    """Contribute the service that creates missing configs."""
    yield Service(name="configs", connect=lambda _settings, context: Backfill(context))
