"""Builders of rows for the tests of the session files."""

from typing import Any

from nanoclaw_wire.inbound import Kind, NewInbound
from nanoclaw_wire.outbound import NewOutbound, OutKind

AT = "2026-01-05T15:04:00.000Z"
LATER = "2026-01-05T16:04:00.000Z"


def incoming(message_id: str, **more: Any) -> NewInbound:
    values: dict[str, Any] = {"kind": Kind.CHAT, "at": AT, "content": "{}"}
    return NewInbound(id=message_id, **(values | more))


def outgoing(message_id: str, **more: Any) -> NewOutbound:
    values: dict[str, Any] = {"kind": OutKind.CHAT, "at": AT, "content": "{}"}
    return NewOutbound(id=message_id, **(values | more))
