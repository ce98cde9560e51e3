"""Generates the verbs list, get, create, update and delete for every resource of a plugin.

Without this plugin: resources have no generated verbs. `status`, `help` and the verbs that plugins define still work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanoclaw_core import Resource, Verb, hookimpl
from nanoclaw_resource_registry.verbs import verbs_of


@hookimpl
def nanoclaw_verbs(resources: Sequence[Resource]) -> Iterator[Verb]:
    """Contribute the generated verbs of all resources."""
    for resource in resources:
        yield from verbs_of(resource)
