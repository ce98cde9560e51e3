"""The resource `dropped-messages`: refused messages and the reasons.

Without this plugin: nanoclaw still records refused messages, but `ncl` cannot list them.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Access, Column, Resource, hookimpl

COLUMNS = (
    Column(name="channel"),
    Column(name="room", help="the platform's id of the chat"),
    Column(name="sender", help="the platform's id of the sender; empty if unknown"),
    Column(name="sender_name"),
    Column(name="reason"),
    Column(name="agent_group_id", help="the addressed agent; empty if none"),
    Column(name="count", kind=int),
    Column(name="first_at"),
    Column(name="last_at"),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="dropped-messages",
        table="dropped_messages",
        columns=COLUMNS,
        key=("channel", "room", "sender", "reason", "agent_group_id"),
        operations={"list": Access.ALLOWED},
        help="refused messages; one row per chat, sender, reason and agent",
    )
