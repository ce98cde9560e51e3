"""Messages on their way out, as a noun: `ncl deliveries`.

Without this plugin: messages are delivered as ever; nobody can list what was sent, what waits and what failed.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanoclaw_core import Column, Resource, hookimpl

COLUMNS = (
    Column(name="id", help="also the key the platform gets, so that it may know a message it had before"),
    Column(name="status", choices=("queued", "sending", "sent", "failed")),
    Column(name="session_id", help="empty where the host itself speaks"),
    Column(name="channel"),
    Column(name="room", help="the platform's own id of the chat"),
    Column(name="thread"),
    Column(name="kind", choices=("chat", "card")),
    Column(name="attempts", kind=int),
    Column(name="next_try_at"),
    Column(name="platform_message_id"),
    Column(name="last_error"),
    Column(name="correlation_id", help="the same on every log line of the message"),
    Column(name="created_at"),
    Column(name="updated_at"),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(name="deliveries", table="deliveries", columns=COLUMNS, help="messages on their way out")
