"""Limits on everything that sandboxes and people in chats can make the host store or compute (I14)."""

from __future__ import annotations

from attrs import field, frozen
from nanoclaw_settings.rules import between

_BOUNDS = between(1, 1_000_000_000_000)


@frozen(kw_only=True)
class Budgets:
    """The `[core.budgets]` table. Days begin at midnight UTC.

    Args:
        session_bytes_per_day: The maximum size of the rows that a session writes and of the answers to its requests.
        session_rows_per_day: The maximum number of rows that a session writes, refused ones included.
        room_bytes_per_day: The maximum size of the messages that all sessions together write to one room.
        instance_bytes: The size of the central database above which it stores nothing from strangers, and from each
            session only a hundredth of `session_bytes_per_day`.
        refused_senders: The maximum number of recorded refusals in one room; more get one log line an hour.
        unknown_rooms: The maximum number of recorded rooms of one channel without an agent; more get one log line an
            hour.
        person_messages_per_minute: The maximum number of messages that a person sends to one agent.
        person_waiting_messages: The maximum number of a person's messages that wait for one agent.
        message_characters: The maximum length of the text of an incoming message.
        quarantine_bytes: The maximum size of all quarantined sessions together. The oldest are removed first, but the
            last one of each conversation keeps its databases and its log if they fit.
        quarantine_days: The maximum age of a quarantined session in days.
    """

    session_bytes_per_day: int = field(default=64_000_000, validator=_BOUNDS)
    session_rows_per_day: int = field(default=20_000, validator=_BOUNDS)
    room_bytes_per_day: int = field(default=256_000_000, validator=_BOUNDS)
    instance_bytes: int = field(default=1_000_000_000, validator=_BOUNDS)
    refused_senders: int = field(default=1_000, validator=_BOUNDS)
    unknown_rooms: int = field(default=1_000, validator=_BOUNDS)
    person_messages_per_minute: int = field(default=30, validator=_BOUNDS)
    person_waiting_messages: int = field(default=500, validator=_BOUNDS)
    message_characters: int = field(default=100_000, validator=_BOUNDS)
    quarantine_bytes: int = field(default=256_000_000, validator=_BOUNDS)
    quarantine_days: int = field(default=30, validator=between(1, 36_500))
