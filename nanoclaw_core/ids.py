"""Identifiers: a type for each, so that arguments cannot be swapped."""

from __future__ import annotations

import secrets
from typing import NewType

GroupId = NewType("GroupId", str)
"""An agent group: `ag-` and 12 hex digits."""
MessagingGroupId = NewType("MessagingGroupId", str)
"""A messaging group: `mg-` and 12 hex digits."""
WiringId = NewType("WiringId", str)
"""A wiring: `wir-` and 12 hex digits."""
SessionId = NewType("SessionId", str)
"""A session: `ses-` and 12 hex digits."""
UserId = NewType("UserId", str)
"""A person on one platform: `<channel>:<the platform's id>`. The core adds the channel; the rest is data (⚠33)."""
DeliveryId = NewType("DeliveryId", str)
"""An outbound message and its idempotency key."""
ApprovalId = NewType("ApprovalId", str)
"""A request that waits for an approval: `apr-` and 12 hex digits."""


def new_id(prefix: str) -> str:
    """Return `<prefix>-` and 12 random hex digits."""
    return f"{prefix}-{secrets.token_hex(6)}"


def user_id(channel: str, raw: str) -> UserId:
    """Return the id of a person under the channel of their message, for any raw id (⚠33)."""
    return UserId(f"{channel}:{raw}")
