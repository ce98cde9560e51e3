"""Dates of a stored delivery.

An unreadable date counts as now, so that a bad row cannot stop its room.
"""

from __future__ import annotations

from datetime import datetime

from nanoclaw_wire import clock

from nanoclaw_core.store.deliveries import Delivery


def seconds_until(text: str | None) -> float:
    """Return the seconds until a date: 0 without a date, negative if it is over."""
    at = clock.from_untrusted_text(text)
    return (at - clock.now()).total_seconds() if at else 0.0


def seconds_to_own_date(delivery: Delivery) -> float:
    """Return the seconds until the own date of an untried message; 0 if it is due."""
    return max(0.0, seconds_until(delivery.next_try_at)) if delivery.attempts == 0 else 0.0


def first_due(delivery: Delivery) -> datetime:
    """Return the first possible delivery time: the creation time, or the message's own date."""
    return _latest(delivery.created_at, delivery.deliver_after) or clock.now()


def age_s(delivery: Delivery, otherwise: datetime) -> float:
    """Return the seconds since delivery became possible.

    A retry by the operator restarts the count.

    If no stored date can be read, `otherwise` is the start.
    """
    since = _latest(delivery.created_at, delivery.deliver_after, delivery.retried_at)
    return (clock.now() - (since or otherwise)).total_seconds()


def _latest(*texts: str | None) -> datetime | None:
    return max((at for text in texts if (at := clock.from_untrusted_text(text)) is not None), default=None)
