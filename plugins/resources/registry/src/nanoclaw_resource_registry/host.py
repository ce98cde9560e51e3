"""Makes the verbs list, get, create, update and delete of every noun that a plugin offers.

Without this plugin: nouns have no verbs of their own; verbs that plugins write themselves, `status` and `help` work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanoclaw_core import Resource, Verb, hookimpl
from nanoclaw_resource_registry.verbs import verbs_of


@hookimpl
def nanoclaw_verbs(resources: Sequence[Resource]) -> Iterator[Verb]:
    """Offer the verbs of all nouns."""
    for resource in resources:
        yield from verbs_of(resource)
