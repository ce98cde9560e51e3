"""The resource `users`: people who have written to nanoclaw.

Without this plugin: nanoclaw still records users, but `ncl` cannot list or change them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nanoclaw_wire import clock

from nanoclaw_core import READ, WRITE, Column, InvalidArguments, Resource, hookimpl

COLUMNS = (
    Column(name="id", is_required=True, help="the channel and the platform's id, such as slack:U012"),
    Column(name="channel", is_required=True, help="the name of the platform's channel"),
    Column(name="display_name", is_updatable=True, help="the name of the user; the platform's own name replaces it"),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="users",
        table="users",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        check=_check,
        help="people who have written to nanoclaw",
    )


def _check(row: Mapping[str, Any]) -> None:
    prefix = f"{row['channel']}:"
    if not row["id"].startswith(prefix) or row["id"] == prefix:
        raise InvalidArguments(
            f"users: --id must begin with {prefix!r} and continue with the platform's id, got {row['id']!r}"
        )
