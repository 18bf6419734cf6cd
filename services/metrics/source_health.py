"""When a source is silent, and when it was. Pure.

A source is judged on its own clock, on which as much time passes as mentions are expected: a night without a
mention is nothing to a job board, an hour in the afternoon may be.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from services.metrics.seasons import SLOTS, Numbers, hours_within, slots_of, weekly_shape

MIN_GAP_SECONDS = 3_600.0
"""Shorter than this nothing is called silent: feeds are polled, and mentions travel."""
RETIRED_SECONDS = 7 * 86_400.0
"""A source that is silent for longer is one that ended, such as an imported file; it is no news any more."""
MIN_MENTIONS = 30
"""A source with fewer in all its history has no rhythm yet."""
FALSE_ALARMS_PER_MONTH = 0.05
SUSPECT_EXPECTED = 3.0
"""So many mentions missing make a source suspect: it is left out where a drop is looked for."""
_HOURS_A_MONTH = 720.0


@dataclass(frozen=True)
class Rhythm:
    """How a source delivers: mentions an hour by slot, and how many must be missing before it is silent."""

    rates: Numbers
    threshold: float
    outages: NDArray[np.bool_]
    """By hour of the history: whether the source was silent in it."""

    def missing(self, last: float, now: float, zone: ZoneInfo) -> float:
        """Return how many mentions are expected between two moments (Unix seconds)."""
        slots, parts = hours_within(last, now, zone)
        return float(self.rates[slots] @ parts)


@dataclass(frozen=True)
class SourceState:
    """How a source is doing now. `last`: Unix seconds of its newest mention."""

    source: str
    last: float
    missing: float
    silent: bool
    suspect: bool


def rhythm(counts: Numbers, first_hour: int, zone: ZoneInfo) -> Rhythm | None:
    """Return the rhythm of a source with `counts` mentions by hour from `first_hour` (hours since 1970) on.

    None when there are too few to tell. Outages of the past are found and left out of the rates.
    """
    if counts.sum() < MIN_MENTIONS:
        return None
    slots = slots_of(range(first_hour, first_hour + len(counts)), zone)
    outages = np.zeros(len(counts), dtype=bool)
    # What is left out makes the rest look busier, which may show another outage; twice is enough.
    for _ in range(2):
        rates = _rates(counts, slots, ~outages)
        clock = np.concatenate([[0.0], np.cumsum(rates[slots])])
        seen = np.flatnonzero(counts)
        # From the end of an hour with mentions to the start of the next one with mentions.
        gaps = clock[seen[1:]] - clock[seen[:-1] + 1]
        threshold = _threshold(gaps, float(rates.mean()))
        outages = np.zeros(len(counts), dtype=bool)
        for index in np.flatnonzero(gaps > threshold):
            outages[seen[index] + 1 : seen[index + 1]] = True
        if clock[-1] - clock[seen[-1] + 1] > threshold:
            outages[seen[-1] + 1 :] = True
    return Rhythm(_rates(counts, slots, ~outages), threshold, outages)


def state(source: str, known: Rhythm, last: float, now: float, zone: ZoneInfo) -> SourceState:
    """Return how `source` is doing, whose newest mention was published at `last`."""
    missing = known.missing(last, now, zone) if now > last else 0.0
    waited = now - last
    silent = missing > known.threshold and MIN_GAP_SECONDS <= waited <= RETIRED_SECONDS
    suspect = missing > SUSPECT_EXPECTED
    return SourceState(source, last, missing, silent, suspect)


def unheard(states: Mapping[str, SourceState]) -> frozenset[str]:
    """Return the sources that are silent."""
    return frozenset(name for name, one in states.items() if one.silent)


def _rates(counts: Numbers, slots: NDArray[np.intp], valid: NDArray[np.bool_]) -> Numbers:
    by_slot = np.bincount(slots, counts * valid, SLOTS).astype(np.float64)
    hours = np.bincount(slots, valid, SLOTS).astype(np.float64)
    shape = weekly_shape(by_slot, hours)
    level = by_slot.sum() / max(float(shape[slots] @ valid), 1.0)
    return np.asarray(shape * level)


def _threshold(gaps: Numbers, rate: float) -> float:
    """Return how many must be missing: rare by chance, and far beyond this source's usual pauses."""
    by_chance = math.log(max(rate * _HOURS_A_MONTH, 1.0) / FALSE_ALARMS_PER_MONTH)
    usual_pause = float(np.quantile(gaps, 0.99)) if len(gaps) >= 20 else 0.0
    return max(by_chance, 2.0 * usual_pause)
