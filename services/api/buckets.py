"""Calendar arithmetic: an hour, day, week or month where the reader lives, daylight saving included.

Pure. A bucket runs from its start to the next one's; together they cover a period without gap or overlap.
A local day has 23, 24 or 25 hours; an hour that the clocks repeat is two buckets, told apart by offset.
"""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from shared.errors import KlankbordError

MAX_BUCKETS = 5_000
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)


class Interval(StrEnum):
    """How long a bucket is; weeks start on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class TooManyPoints(KlankbordError):
    """A series would be longer than anyone can read; the message says what to do."""


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_named(name: str) -> ZoneInfo:
    """Return the IANA time zone `name`; raises ValueError when there is none."""
    if name not in _zone_names():
        raise ValueError("must be an IANA time zone, such as Europe/Amsterdam or UTC")
    return ZoneInfo(name)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant (UTC) of `day` in `zone`, also where the clocks skip or repeat midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def bucket_starts(interval: Interval, zone: ZoneInfo, start: datetime, end: datetime) -> tuple[datetime, ...]:
    """Return the starts (UTC, ascending) of the buckets that together cover `start` <= t < `end`.

    The first is the start of the bucket that holds `start`, so it may lie before it.
    Raises TooManyPoints above MAX_BUCKETS, ValueError when the period is empty.
    """
    if start >= end:
        raise ValueError("a period's start lies before its end")
    # Arithmetic on a local datetime would be arithmetic on the wall clock.
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    starts = [_first_hour(start, zone) if interval is Interval.HOUR else _first_day(interval, start, zone)]
    day = starts[0].astimezone(zone).date()
    while True:
        if interval is Interval.HOUR:
            following = _next_hour(starts[-1], zone)
        else:
            day = _next_date(interval, day)
            following = start_of_day(day, zone)
        if following >= end:
            return tuple(starts)
        # A day that a zone skipped altogether (Samoa, 30 December 2011) has no bucket.
        if following > starts[-1]:
            starts.append(following)
        if len(starts) > MAX_BUCKETS:
            raise TooManyPoints(
                f"the period has more than {MAX_BUCKETS:,} intervals of one {interval}; "
                "use a coarser interval or a shorter period"
            )


def _first_day(interval: Interval, moment: datetime, zone: ZoneInfo) -> datetime:
    day = moment.astimezone(zone).date()
    if interval is Interval.WEEK:
        day -= timedelta(days=day.weekday())
    elif interval is Interval.MONTH:
        day = day.replace(day=1)
    first = start_of_day(day, zone)
    # Where clocks fall back over midnight, a date returns after the next one has begun.
    following = start_of_day(_next_date(interval, day), zone)
    return following if first < following <= moment else first


def _next_date(interval: Interval, day: date) -> date:
    if interval is Interval.MONTH:
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 if interval is Interval.WEEK else 1)


def _first_hour(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    first = moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return _transition(first, moment.replace(microsecond=0), zone) or first


def _next_hour(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    following = moment + _HOUR - timedelta(minutes=local.minute, seconds=local.second)
    return _transition(moment, following - _SECOND, zone) or following


def _transition(before: datetime, after: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first second in (before, after] with after's offset; None when the offset is the same."""
    old, new = _offset(before, zone), _offset(after, zone)
    if old == new:
        return None
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(before + middle * _SECOND, zone) == old:
            low = middle
        else:
            high = middle
    return before + high * _SECOND


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def on_whole_hours(moments: tuple[datetime, ...]) -> bool:
    """Whether each moment is on a UTC hour: what the hourly rollup can answer exactly."""
    return all(moment.timestamp() % 3600 == 0 for moment in moments)
