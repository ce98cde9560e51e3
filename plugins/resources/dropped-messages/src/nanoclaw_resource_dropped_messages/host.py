"""What was turned down, and why, as a noun: `ncl dropped-messages`.

Without this plugin: what is turned down is recorded as ever; nobody can list it.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Access, Column, Resource, hookimpl

COLUMNS = (
    Column(name="channel"),
    Column(name="room", help="the platform's own id of the chat"),
    Column(name="sender", help="the platform's id; empty where it cannot say"),
    Column(name="sender_name"),
    Column(name="reason"),
    Column(name="agent_group_id", help="the agent it was meant for; empty where there was none"),
    Column(name="count", kind=int),
    Column(name="first_at"),
    Column(name="last_at"),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="dropped-messages",
        table="dropped_messages",
        columns=COLUMNS,
        key=("channel", "room", "sender", "reason", "agent_group_id"),
        operations={"list": Access.OPEN},
        help="messages that were turned down, one row for each chat, sender and reason",
    )
