"""Times (I9): reference §10.5, 15 to 19, and ⚠62."""

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
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    assert clock.from_text(text) == MOMENT


@pytest.mark.parametrize("text", ["2026-01-05T15:04:00Z", "2026-01-05t15:04:00z", "2026-01-05T15:04:00.000Z"])
def test_z_is_utc_in_either_case(text: str) -> None:
    assert clock.from_text(text) == MOMENT


@pytest.mark.parametrize("text", ["2026-01-05T17:04:00+02:00", "2026-01-05T17:04:00+0200", "2026-01-05T10:04:00-05:00"])
def test_an_offset_is_honoured(text: str) -> None:
    assert clock.from_text(text) == MOMENT


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00Z", "15:04", "2026-01-05T25:00:00Z", "\0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a date and time"):
        clock.from_text(text)


@given(st.text())
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert clock.from_text(text).tzinfo is UTC
    except ValueError as error:
        assert "not a date and time" in str(error)  # noqa: PT017  # any text may be a time, too


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_the_machines_zone_changes_nothing(zone: str) -> None:
    program = "from nanoclaw_wire import clock; print(clock.to_text(clock.from_text('2026-01-05 15:04:00')))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"TZ": zone}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "2026-01-05T15:04:00.000Z"


@given(AWARE)
def test_a_written_time_is_read_back_to_the_millisecond(at: datetime) -> None:
    text = clock.to_text(at)
    assert len(text) == 24
    assert clock.from_text(text) == at.replace(microsecond=at.microsecond // 1000 * 1000)


@given(st.lists(AWARE, min_size=2, max_size=5))
def test_comparing_texts_compares_times(moments: list[datetime]) -> None:
    texts = [clock.to_text(at) for at in sorted(moments)]
    assert all(earlier <= later for earlier, later in pairwise(texts))


def test_a_time_without_a_zone_is_never_written() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        clock.to_text(datetime(2026, 1, 5))  # noqa: DTZ001  # that is the point


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "UTC", "Asia/Kolkata"])
def test_iana_names_are_zones(name: str) -> None:
    assert clock.is_zone(name)


@pytest.mark.parametrize("name", ["PST", "IST", "BST", "EST", "+03:00", "Mars/Base", "", "../etc/passwd", "/", "a/\0"])
def test_warning_62_abbreviations_and_offsets_are_zones_on_neither_side(name: str) -> None:
    assert not clock.is_zone(name)
    assert clock.zone(name).key == "UTC"


@given(st.text())
def test_any_text_is_a_zone_or_not(name: str) -> None:
    assert clock.is_zone(name) in (True, False)


def test_people_read_their_own_time() -> None:
    assert clock.for_people(MOMENT, "Europe/Berlin") == "Jan 5, 2026, 4:04 PM"
    assert clock.for_people(datetime(2026, 1, 5, 0, 7, tzinfo=UTC), "UTC") == "Jan 5, 2026, 12:07 AM"
