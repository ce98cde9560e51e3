"""The chats that nanoclaw knows, as a noun: `ncl messaging-groups`.

Without this plugin: chats become known when a bot is mentioned in them, as ever; nobody can list or remove them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from nanoclaw_wire import clock

from nanoclaw_core import READ, WRITE, Column, Resource, hookimpl, new_id

COLUMNS = (
    Column(name="id", generate=partial(new_id, "mg")),
    Column(name="channel", is_required=True, help="the platform, as its channel is called"),
    Column(name="room", is_required=True, help="the platform's own id of the chat"),
    Column(name="name", is_updatable=True, help="what people call it; the platform's word replaces it"),
    Column(name="is_group", kind=bool, default=False, is_updatable=True, help="whether more than one person is in it"),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="messaging-groups",
        table="messaging_groups",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        cascades=True,
        help="chats on platforms",
    )
