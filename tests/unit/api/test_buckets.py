"""Calendar arithmetic, over every way in which clocks are known to change."""

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.buckets import (
    MAX_BUCKETS,
    Interval,
    TooManyPoints,
    bucket_starts,
    on_whole_hours,
    start_of_day,
    zone_named,
)

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
ZONES = [
    "Europe/Amsterdam",
    "Asia/Kolkata",  # half an hour off
    "Asia/Kathmandu",  # three quarters of an hour off
    "America/St_Johns",  # half an hour off, with daylight saving
    "Australia/Lord_Howe",  # daylight saving of half an hour
    "America/Havana",  # midnight is skipped, or comes twice
    "Asia/Beirut",
    "UTC",
]
# From 2012 on St. John's changes its clocks at 02:00; before, at one past midnight.
MOMENTS = st.datetimes(datetime(2012, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def label(interval: Interval, moment: datetime, zone: ZoneInfo) -> object:
    """Return what a reader would call the bucket that holds `moment`, by nothing but the local clock."""
    local = moment.astimezone(zone)
    match interval:
        case Interval.HOUR:
            return local.date(), local.hour, local.utcoffset()
        case Interval.DAY:
            return local.date()
        case Interval.WEEK:
            return local.isocalendar()[:2]
        case Interval.MONTH:
            return local.year, local.month


@pytest.mark.parametrize("zone_name", ZONES)
@given(
    interval=st.sampled_from(Interval),
    start=MOMENTS,
    seconds=st.integers(1, 100 * 86_400),
    place=st.floats(0, 1, exclude_max=True),
)
def test_buckets_tile_the_period(
    zone_name: str, interval: Interval, start: datetime, seconds: int, place: float
) -> None:
    zone = ZoneInfo(zone_name)
    end = start + timedelta(seconds=seconds)
    starts = bucket_starts(interval, zone, start, end)
    assert starts[0] <= start
    assert starts[-1] < end
    assert all(earlier < later for earlier, later in pairwise(starts))
    # Any moment of the period lies in the bucket that bears its name, and in no other.
    moment = start + timedelta(seconds=place * seconds)
    bucket = starts[bisect_right(starts, moment) - 1]
    assert label(interval, bucket, zone) == label(interval, moment, zone)
    labels = [label(interval, start, zone) for start in starts]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("zone_name", ZONES)
@given(interval=st.sampled_from(Interval), start=MOMENTS, seconds=st.integers(1, 100 * 86_400))
def test_a_bucket_starts_where_its_name_begins(
    zone_name: str, interval: Interval, start: datetime, seconds: int
) -> None:
    zone = ZoneInfo(zone_name)
    for bucket in bucket_starts(interval, zone, start, start + timedelta(seconds=seconds)):
        just_before = bucket - timedelta(microseconds=1)
        assert label(interval, just_before, zone) != label(interval, bucket, zone)


def day_lengths(zone: str, first: date, days: int) -> list[float]:
    starts = bucket_starts(
        Interval.DAY,
        ZoneInfo(zone),
        start_of_day(first, ZoneInfo(zone)),
        start_of_day(first + timedelta(days=days), ZoneInfo(zone)),
    )
    ends = (*starts[1:], start_of_day(first + timedelta(days=days), ZoneInfo(zone)))
    return [(end - start) / timedelta(hours=1) for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        ("Europe/Amsterdam", date(2026, 3, 28), [24, 23, 24]),
        ("Europe/Amsterdam", date(2026, 10, 24), [24, 25, 24]),
        ("Australia/Lord_Howe", date(2026, 4, 4), [24, 24.5, 24]),
        ("America/Havana", date(2026, 3, 7), [24, 23, 24]),
        ("Asia/Beirut", date(2026, 3, 28), [24, 23, 24]),
        ("Asia/Kolkata", date(2026, 3, 28), [24, 24, 24]),
    ],
)
def test_days_are_as_long_as_they_are(zone: str, first: date, hours: list[float]) -> None:
    assert day_lengths(zone, first, 3) == hours


def test_a_day_that_a_zone_skipped_has_no_bucket() -> None:
    assert day_lengths("Pacific/Apia", date(2011, 12, 28), 5) == [24, 24, 24, 24]


def test_clocks_that_fall_back_over_midnight_still_tile() -> None:
    zone = ZoneInfo("America/St_Johns")  # 2010-11-07 00:01 became 2010-11-06 23:01
    start = datetime(2010, 11, 7, 3, 0, tzinfo=UTC)
    starts = bucket_starts(Interval.DAY, zone, start, start + timedelta(days=2))
    assert [s.astimezone(zone).date().day for s in starts] == [7, 8]
    assert starts[0] == datetime(2010, 11, 7, 2, 30, tzinfo=UTC)


def test_the_repeated_hour_is_two_buckets_told_apart_by_offset() -> None:
    start, end = datetime(2026, 10, 25, 0, 15, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC)
    starts = bucket_starts(Interval.HOUR, AMSTERDAM, start, end)
    assert [start.astimezone(AMSTERDAM).isoformat() for start in starts] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]


@pytest.mark.parametrize("interval", Interval)
def test_a_period_may_be_given_in_any_time_zone(interval: Interval) -> None:
    start, end = datetime(2026, 10, 24, 23, 15, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    local = (start.astimezone(AMSTERDAM), end.astimezone(AMSTERDAM))
    assert bucket_starts(interval, AMSTERDAM, *local) == bucket_starts(interval, AMSTERDAM, start, end)


def test_a_skipped_half_hour_leaves_half_a_bucket() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")  # 2026-10-04 02:00+10:30 became 02:30+11:00
    start, end = datetime(2026, 10, 3, 14, 30, tzinfo=UTC), datetime(2026, 10, 3, 17, tzinfo=UTC)
    assert [s.astimezone(zone).isoformat() for s in bucket_starts(Interval.HOUR, zone, start, end)] == [
        "2026-10-04T01:00:00+10:30",
        "2026-10-04T02:30:00+11:00",
        "2026-10-04T03:00:00+11:00",
    ]


def test_weeks_start_on_monday_and_months_on_the_first() -> None:
    start, end = datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 4, 6, tzinfo=UTC)
    weeks = bucket_starts(Interval.WEEK, AMSTERDAM, start, end)
    assert [s.astimezone(AMSTERDAM).isoformat() for s in weeks] == [
        "2026-03-23T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
        "2026-04-06T00:00:00+02:00",
    ]
    months = bucket_starts(Interval.MONTH, AMSTERDAM, start, end)
    assert [s.astimezone(AMSTERDAM).date() for s in months] == [date(2026, 3, 1), date(2026, 4, 1)]


def test_too_long_a_period_is_refused_with_advice() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    assert len(bucket_starts(Interval.HOUR, AMSTERDAM, start, start + MAX_BUCKETS * hour)) == MAX_BUCKETS
    with pytest.raises(TooManyPoints, match="use a coarser interval or a shorter period"):
        bucket_starts(Interval.HOUR, AMSTERDAM, start, start + (MAX_BUCKETS + 1) * hour)


def test_an_empty_period_is_refused() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="before its end"):
        bucket_starts(Interval.DAY, AMSTERDAM, moment, moment)


@pytest.mark.parametrize("name", ["Europe", "../../etc/passwd", "europe/amsterdam", "", "CET+1", "/UTC"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="IANA time zone"):
        zone_named(name)


def test_whole_hours() -> None:
    hour = datetime(2026, 1, 1, 5, tzinfo=UTC)
    assert on_whole_hours((hour, hour.astimezone(AMSTERDAM)))
    assert not on_whole_hours((hour, hour + timedelta(microseconds=1)))
    assert not on_whole_hours((start_of_day(date(2026, 1, 1), ZoneInfo("Asia/Kolkata")),))
