"""Times: UTC everywhere (I9), one text form in tables and frames, local time only where people read.

The text form is RFC 3339 with milliseconds and `Z`, always 24 characters, so that comparing text compares time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET_WITHOUT_COLON = re.compile(r"([+-]\d{2})(\d{2})$")


def now() -> datetime:
    """Return the current time, aware, in UTC: `time.time()`, with which times of files are compared."""
    return datetime.fromtimestamp(time.time(), UTC)


def to_text(at: datetime) -> str:
    """Write an aware time as `2026-01-05T15:04:00.000Z`.

    Raises:
        ValueError: The time has no zone; guessing one is how reference defect ⚠9 came about.
    """
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be written: {at!r}")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """Read a time; one without a zone is UTC, never the zone of the machine.

    Raises:
        ValueError: The text is not an ISO 8601 date and time.
    """
    cleaned = _OFFSET_WITHOUT_COLON.sub(r"\1:\2", text.strip().replace("z", "Z"))
    try:
        at = datetime.fromisoformat(cleaned)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter: before the first year, or after the last, in UTC
        raise ValueError(f"not a date and time: {text!r}; write it like 2026-01-05T15:04:00Z") from error


def now_text() -> str:
    """Return the current time in the text form."""
    return to_text(now())


def is_zone(name: str) -> bool:
    """Say whether a name is an IANA time zone. Host and runner both ask here, so they cannot differ (⚠62)."""
    # Abbreviations that some systems ship as files ("PST8PDT", "EST") are not what people mean by a zone, and an
    # engine may know others ("PST", "+03:00"); the region form and UTC are the ones every zone database has.
    if name != "UTC" and "/" not in name:
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def machine_zone(environment: Mapping[str, str]) -> str:
    """Return the name of the machine's IANA time zone, `UTC` where it cannot be told."""
    named = environment.get("TZ", "").removeprefix(":")
    if is_zone(named):
        return named
    name = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    return name if is_zone(name) else "UTC"


def zone(name: str) -> ZoneInfo:
    """Return the zone, or UTC where the name is no zone."""
    return ZoneInfo(name if is_zone(name) else "UTC")


def for_people(at: datetime, zone_name: str) -> str:
    """Write a time as people read it, `Jan 5, 2026, 3:04 PM`, in a zone (UTC where the name is no zone)."""
    local = at.astimezone(zone(zone_name))
    hour = local.hour % 12 or 12
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[local.month - 1]
    return f"{month} {local.day}, {local.year}, {hour}:{local.minute:02d} {'AM' if local.hour < 12 else 'PM'}"
