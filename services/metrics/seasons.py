"""Hours of the week: which of the 168 a moment belongs to, on the clock of a place. Pure.

"The same weekday and hour" is meant as people live it: when the clocks change, their Monday at nine stays
Monday at nine, though it is another hour in UTC.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

HOUR = 3_600
SLOTS = 168
"""Hours in a week."""
Numbers = NDArray[np.float64]


@lru_cache(maxsize=50_000)
def slot_of(hour: int, zone: ZoneInfo) -> int:
    """Return the hour of the week, 0 to 167 from Monday midnight in `zone`, of an hour since 1970 (UTC)."""
    local = datetime.fromtimestamp(hour * HOUR, UTC).astimezone(zone)
    return local.weekday() * 24 + local.hour


def slots_of(hours: Sequence[int], zone: ZoneInfo) -> NDArray[np.intp]:
    """Return `slot_of` of each hour."""
    return np.array([slot_of(hour, zone) for hour in hours], dtype=np.intp)


def hours_within(start: float, end: float, zone: ZoneInfo) -> tuple[NDArray[np.intp], Numbers]:
    """Return the slots of the hours that `start` to `end` (Unix seconds) touches, and the part of each."""
    hours = range(int(start // HOUR), int(-(-end // HOUR)))
    parts = [min(end, (hour + 1) * HOUR) - max(start, hour * HOUR) for hour in hours]
    return slots_of(hours, zone), np.array(parts, dtype=np.float64) / HOUR


def weekly_shape(counts: Numbers, exposures: Numbers, prior: float = 20.0) -> Numbers:
    """Return how busy each slot is, on average 1, from `counts` in it over `exposures` hours (168 each).

    Where little was counted it leans to what weekday and time of day say by themselves.
    """
    total, hours = counts.sum(), exposures.sum()
    if total == 0 or hours == 0:
        return np.ones(SLOTS)
    by_day, by_time = counts.reshape(7, 24), exposures.reshape(7, 24)
    day = (by_day.sum(1) + prior) / (by_time.sum(1) * total / hours + prior)
    time = (by_day.sum(0) + prior) / (by_time.sum(0) * total / hours + prior)
    usual = np.outer(day, time).ravel()
    shape = usual * (counts + prior) / (exposures * usual * total / hours + prior)
    return np.asarray(shape / shape.mean())
