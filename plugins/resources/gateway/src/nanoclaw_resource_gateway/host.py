"""Gives sandboxes a way to their models, and to nothing else, without giving them a key.

Without this plugin: sandboxes have no way to a model; providers that need one say so, and nothing falls back to an open
network.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Migration, Service, Sweep, hookimpl
from nanoclaw_resource_gateway.gateway import SessionGateway
from nanoclaw_resource_gateway.rows import create_calls, prune
from nanoclaw_resource_gateway.settings import Settings


@hookimpl
def nanoclaw_services() -> Iterator[Service]:
    """Offer the gateway."""
    yield Service(name="gateway", connect=SessionGateway, settings=Settings, is_gateway=True)


@hookimpl
def nanoclaw_migrations() -> Iterator[Migration]:
    """Make the record of calls."""
    yield Migration(name="calls", apply=create_calls)


@hookimpl
def nanoclaw_sweeps() -> Iterator[Sweep]:
    """Forget old calls, once an hour."""
    yield Sweep(name="gateway", every_s=3_600.0, run=prune)
