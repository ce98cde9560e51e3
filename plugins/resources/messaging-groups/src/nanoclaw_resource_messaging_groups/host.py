"""The resource `messaging-groups`: the chats that nanoclaw knows.

Without this plugin: nanoclaw still records a chat when its bot is mentioned there, but `ncl` cannot list or delete it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from nanoclaw_wire import clock

from nanoclaw_core import READ, WRITE, Column, Resource, hookimpl, new_id

COLUMNS = (
    Column(name="id", generate=partial(new_id, "mg")),
    Column(name="channel", is_required=True, help="the name of the platform's channel"),
    Column(name="room", is_required=True, help="the platform's id of the chat"),
    Column(name="name", is_updatable=True, help="the name of the chat; the platform's own name replaces it"),
    Column(name="is_group", kind=bool, default=False, is_updatable=True, help="whether several people are in the chat"),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="messaging-groups",
        table="messaging_groups",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        cascades=True,
        help="chats on platforms",
    )
