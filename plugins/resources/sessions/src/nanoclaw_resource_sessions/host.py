"""Conversations, as a noun: `ncl sessions`.

Without this plugin: conversations go on as ever; nobody can list them.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Column, Resource, hookimpl

COLUMNS = (
    Column(name="id"),
    Column(name="agent_group_id", help="the agent"),
    Column(name="messaging_group_id", help="the chat; empty where the conversation has none of its own"),
    Column(name="thread", help="set where one thread is one conversation"),
    Column(name="provider", help="overrides the agent group's"),
    Column(name="status", choices=("active", "closed")),
    Column(name="due_at", help="when it next needs a sandbox; empty where nothing waits"),
    Column(name="created_at"),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="sessions", table="sessions", columns=COLUMNS, scope_column="agent_group_id", help="conversations"
    )
