"""UTC times in one text form (I9). Only text for people has local times.

The text form is RFC 3339 with milliseconds and `Z`. It always has 24 characters, so texts sort in the order of times.
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
    """Return the current time as an aware UTC datetime. It uses `time.time()`, so it compares with file times."""
    return datetime.fromtimestamp(time.time(), UTC)


def to_text(at: datetime) -> str:
    """Format an aware time as `2026-01-05T15:04:00.000Z`.

    Raises:
        ValueError: The time has no zone. A guessed zone caused defect ⚠9 of the reference.
    """
    if at.tzinfo is None:
        raise ValueError(f"`at` must have a time zone, got {at!r}. Use `clock.now()` or set `tzinfo`.")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """Parse a time. A time without a zone is UTC, never the machine's zone.

    Raises:
        ValueError: The text is not an ISO 8601 date and time.
    """
    cleaned = _OFFSET_WITHOUT_COLON.sub(r"\1:\2", text.strip().replace("z", "Z"))
    try:
        at = datetime.fromisoformat(cleaned)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # OverflowError: outside the years 1 to 9999 in UTC
        raise ValueError(f"not a date and time: {text!r}. Write it like 2026-01-05T15:04:00Z.") from error


def from_untrusted_text(text: str | None) -> datetime | None:
    """Parse a time as `from_text` does; return None for no text and for one that is not a time."""
    try:
        return from_text(text) if text else None
    except ValueError:
        return None


def now_text() -> str:
    """Return the current time in the text form."""
    return to_text(now())


def is_zone(name: str) -> bool:
    """Return True if a name is an IANA time zone.

    The host and the runner both use this function, so they cannot disagree (⚠62).
    """
    # Some systems ship abbreviations as files ("PST8PDT", "EST"), and an engine may know others ("PST", "+03:00").
    # Accept only the region form and UTC, which every zone database has.
    if name != "UTC" and "/" not in name:
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def machine_zone(environment: Mapping[str, str]) -> str:
    """Return the name of the machine's IANA time zone, or `UTC` if it is unknown."""
    configured = environment.get("TZ", "").removeprefix(":")
    if is_zone(configured):
        return configured
    name = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    return name if is_zone(name) else "UTC"


def zone(name: str) -> ZoneInfo:
    """Return the zone of this name, or UTC if the name is unknown."""
    return ZoneInfo(name if is_zone(name) else "UTC")


def for_people(at: datetime, zone_name: str) -> str:
    """Format a time for people, like `Jan 5, 2026, 3:04 PM`, in a zone (UTC if the name is unknown)."""
    local = at.astimezone(zone(zone_name))
    hour = local.hour % 12 or 12
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[local.month - 1]
    return f"{month} {local.day}, {local.year}, {hour}:{local.minute:02d} {'AM' if local.hour < 12 else 'PM'}"
