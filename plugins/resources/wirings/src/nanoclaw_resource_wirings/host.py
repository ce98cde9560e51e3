"""The resource `wirings`: which agent answers in which chat, and when.

Without this plugin: existing wirings keep working, but `ncl` cannot list, create or change them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from nanoclaw_wire import clock

from nanoclaw_core import READ, WRITE, Column, Resource, check_pattern, hookimpl, new_id

COLUMNS = (
    Column(name="id", generate=partial(new_id, "wir")),
    Column(name="messaging_group_id", is_required=True, help="the chat"),
    Column(name="agent_group_id", is_required=True, help="the agent"),
    Column(
        name="engage_mode",
        choices=("pattern", "mention", "mention-sticky"),
        default="mention",
        is_updatable=True,
        help="when the agent answers",
    ),
    Column(
        name="engage_pattern",
        is_updatable=True,
        help="a regular expression of at most 500 characters, for mode pattern; . matches every message",
    ),
    Column(
        name="ignored_policy",
        choices=("drop", "accumulate"),
        default="drop",
        is_updatable=True,
        help="the treatment of messages that the agent does not answer",
    ),
    Column(
        name="session_mode",
        choices=("shared", "per-thread", "agent-shared"),
        default="shared",
        is_updatable=True,
        help="which messages share a session",
    ),
    Column(
        name="priority",
        kind=int,
        default=0,
        is_updatable=True,
        help="the order of agents in one chat; higher ones first",
    ),
    Column(name="created_at", generate=clock.now_text),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="wirings",
        table="wirings",
        columns=COLUMNS,
        operations={**READ, **WRITE},
        check=lambda row: check_pattern(row["engage_mode"], row.get("engage_pattern")),
        cascades=True,
        owns=("pattern_timeouts",),
        help="which agent answers in which chat, and when",
    )
