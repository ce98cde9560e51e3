"""The people that nanoclaw has met, as a noun: `ncl users`.

Without this plugin: people are remembered as ever; nobody can list them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nanoclaw_wire import clock

from nanoclaw_core import READ, WRITE, Column, InvalidArguments, Resource, hookimpl

COLUMNS = (
    Column(name="id", is_required=True, help="the channel and the platform's id: slack:U012"),
    Column(name="channel", is_required=True, help="the platform, as its channel is called"),
    Column(name="display_name", is_updatable=True, help="the platform's word replaces it"),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="users",
        table="users",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        check=_check,
        help="the people that nanoclaw has met",
    )


def _check(row: Mapping[str, Any]) -> None:
    prefix = f"{row['channel']}:"
    if not row["id"].startswith(prefix) or row["id"] == prefix:
        raise InvalidArguments(f"users: the id {row['id']!r} must begin with the channel: {prefix}…")
