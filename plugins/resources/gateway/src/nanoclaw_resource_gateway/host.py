"""Lets sandboxes reach their models, and nothing else, without a key.

Without this plugin: sandboxes cannot reach a model. Providers that need one report that. No sandbox falls back to an
open network.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Migration, Service, Sweep, hookimpl
from nanoclaw_resource_gateway.gateway import SessionGateway
from nanoclaw_resource_gateway.rows import create_calls, create_unrecorded, prune
from nanoclaw_resource_gateway.settings import Settings


@hookimpl
def nanoclaw_services() -> Iterator[Service]:
    """Contribute the gateway."""
    yield Service(name="gateway", connect=SessionGateway, settings=Settings, is_gateway=True)


@hookimpl
def nanoclaw_migrations() -> Iterator[Migration]:
    """Contribute the tables of call records."""
    yield Migration(name="calls", apply=create_calls)
    yield Migration(name="unrecorded", apply=create_unrecorded)


@hookimpl
def nanoclaw_sweeps() -> Iterator[Sweep]:
    """Contribute the hourly deletion of old call records."""
    yield Sweep(name="gateway", every_s=3_600.0, run=prune)
