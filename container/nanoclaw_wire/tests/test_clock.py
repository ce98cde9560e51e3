"""Times: UTC in text, local for people (I9)."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire import clock

MOMENT = datetime(2026, 1, 5, 15, 4, 0, tzinfo=UTC)
AWARE = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  # made aware by the strategy
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@pytest.mark.parametrize(
    "text", ["2026-01-05 15:04:00", "2026-01-05T15:04:00", "2026-01-05 15:04:00.000", "2026-01-05T15:04:00.000"]
)
def test_from_text_without_zone_is_utc(text: str) -> None:
    assert clock.from_text(text) == MOMENT


@pytest.mark.parametrize("text", ["2026-01-05T15:04:00Z", "2026-01-05t15:04:00z", "2026-01-05T15:04:00.000Z"])
def test_from_text_with_z_is_utc(text: str) -> None:
    assert clock.from_text(text) == MOMENT


@pytest.mark.parametrize("text", ["2026-01-05T17:04:00+02:00", "2026-01-05T17:04:00+0200", "2026-01-05T10:04:00-05:00"])
def test_from_text_with_offset_is_converted(text: str) -> None:
    assert clock.from_text(text) == MOMENT


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00Z", "15:04", "2026-01-05T25:00:00Z", "\0"])
def test_from_text_of_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a date and time"):
        clock.from_text(text)


@pytest.mark.parametrize("text", [None, "", "soon", "2026-13-01T00:00:00Z"])
def test_from_untrusted_text_of_other_text_is_none(text: str | None) -> None:
    assert clock.from_untrusted_text(text) is None


def test_from_untrusted_text_parses_a_time() -> None:
    assert clock.from_untrusted_text("2026-01-05T15:04:00Z") == MOMENT


@given(st.text())
def test_from_text_of_any_text_parses_or_raises(text: str) -> None:
    try:
        assert clock.from_text(text).tzinfo is UTC
    except ValueError as error:
        assert "not a date and time" in str(error)  # noqa: PT017  # any text may be a time, too


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_from_text_ignores_machine_zone(zone: str) -> None:
    program = "from nanoclaw_wire import clock; print(clock.to_text(clock.from_text('2026-01-05 15:04:00')))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"TZ": zone}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "2026-01-05T15:04:00.000Z"


@given(AWARE)
def test_to_text_keeps_milliseconds(at: datetime) -> None:
    text = clock.to_text(at)
    assert len(text) == 24
    assert clock.from_text(text) == at.replace(microsecond=at.microsecond // 1000 * 1000)


@given(st.lists(AWARE, min_size=2, max_size=5))
def test_to_text_sorts_like_times(moments: list[datetime]) -> None:
    texts = [clock.to_text(at) for at in sorted(moments)]
    assert all(earlier <= later for earlier, later in pairwise(texts))


def test_to_text_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a time zone"):
        clock.to_text(datetime(2026, 1, 5))  # noqa: DTZ001  # the fault under test


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "UTC", "Asia/Kolkata"])
def test_is_zone_accepts_iana_names(name: str) -> None:
    assert clock.is_zone(name)


@pytest.mark.parametrize("name", ["PST", "IST", "BST", "EST", "+03:00", "Mars/Base", "", "../etc/passwd", "/", "a/\0"])
@pytest.mark.defect(number=62)
def test_is_zone_refuses_abbreviations_and_offsets(name: str) -> None:
    assert not clock.is_zone(name)
    assert clock.zone(name).key == "UTC"


@given(st.text())
def test_is_zone_of_any_text_returns_bool(name: str) -> None:
    assert clock.is_zone(name) in (True, False)


def test_for_people_uses_their_zone() -> None:
    assert clock.for_people(MOMENT, "Europe/Berlin") == "Jan 5, 2026, 4:04 PM"
    assert clock.for_people(datetime(2026, 1, 5, 0, 7, tzinfo=UTC), "UTC") == "Jan 5, 2026, 12:07 AM"
