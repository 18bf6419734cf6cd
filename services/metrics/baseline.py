"""What is usual for a brand: how many different people complain, by hour of the week. Pure.

Employers have few complaints, so a slot of the week (Monday 9:00, say) has a handful in eight weeks at best.
What is usual there is therefore estimated in steps, each leaning on the one before as long as it has little
to go by: how often this series counts at all, how busy the brand's week is at that hour, and what was seen in
the very slot. How unsure that leaves us widens the distribution that a count is compared with.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from services.metrics.seasons import SLOTS, Numbers, hours_within, slots_of, weekly_shape

HISTORY_WEEKS = 8
MIN_WEEKS = 4
WINDOWS = (1, 2, 6, 24)
"""Hours that are looked back over: short ones see a burst, long ones what small employers have."""
HALF_LIFE_WEEKS = 4.0
SLOT_PRIOR = 20.0
"""A slot's own count weighs as much as its expectation once so many were expected there."""
USUAL_DISPERSION, DISPERSION_SPREAD = 0.05, 0.12
_HOURS_A_WEEK = 168


class Scope(StrEnum):
    """By what complaints are counted."""

    ALL = "all"
    STAGE = "stage"
    TOPIC = "topic"


class Series(NamedTuple):
    """One count of a brand's complaints: all, those of a stage, or those of a topic."""

    scope: Scope
    name: str = ""


ALL = Series(Scope.ALL)


@dataclass(frozen=True)
class History:
    """A brand's past, by hour from `first_hour` (hours since 1970) on.

    `mentions`: by source, all mentions. `complainants`: by series and source, different people with a #fail.
    `outages`: by source, the hours in which it was silent, which say nothing.
    """

    brand: str
    first_hour: int
    mentions: Mapping[str, Numbers]
    complainants: Mapping[tuple[Series, str], Numbers]
    outages: Mapping[str, NDArray[np.bool_]]

    @property
    def hours(self) -> int:
        """How many hours there are."""
        return max((len(counts) for counts in self.mentions.values()), default=0)


@dataclass(frozen=True)
class Expectation:
    """What is usual in one window, per series: mean, and the extra variance (in squared means)."""

    mean: Numbers
    dispersion: Numbers

    def at_least(self, counts: Numbers) -> Numbers:
        """Return how likely so many or more are by chance."""
        size = 1 / self.dispersion
        return np.asarray(nbinom.sf(counts - 1, size, size / (size + self.mean)))

    def at_most(self, counts: Numbers) -> Numbers:
        """Return how likely so few or fewer are by chance."""
        size = 1 / self.dispersion
        return np.asarray(nbinom.cdf(counts, size, size / (size + self.mean)))

    def usual_at_most(self, series: int) -> float:
        """Return up to how many one series has in 99 of 100 such windows."""
        size = 1 / self.dispersion[series]
        return float(nbinom.ppf(0.99, size, size / (size + self.mean[series])))


@dataclass(frozen=True)
class Baseline:
    """What is usual for a brand.

    `rates`: complainants an hour by series, source and slot.
    `certainty`: how many each series' level rests on.
    `slot_evidence`: how many were expected by series and slot, over the history.
    """

    brand: str
    series: tuple[Series, ...]
    sources: tuple[str, ...]
    rates: Numbers
    certainty: Numbers
    slot_evidence: Numbers
    dispersion: Mapping[int, float]

    def expect(
        self, start: float, end: float, window: int, zone: ZoneInfo, without: Collection[str] = ()
    ) -> Expectation:
        """Return what is usual from `start` to `end` (Unix seconds), a window of nominally `window` hours.

        The sources in `without` deliver nothing now, so nothing is expected of them.
        """
        slots, parts = hours_within(start, end, zone)
        heard = np.array([source not in without for source in self.sources])
        by_hour = self.rates[:, heard][:, :, slots].sum(1) * parts
        mean = np.maximum(by_hour.sum(1), 1e-9)
        of_slots = (by_hour**2 / (SLOT_PRIOR + self.slot_evidence[:, slots])).sum(1) / mean**2
        return Expectation(mean, self.dispersion[window] + of_slots + 1 / (self.certainty + 1))


def learn(history: History, zone: ZoneInfo) -> Baseline | None:
    """Return what is usual; None when there are less than MIN_WEEKS weeks to tell by."""
    hours = history.hours
    if weeks_with_mentions(history) < MIN_WEEKS:
        return None
    slots = slots_of(range(history.first_hour, history.first_hour + hours), zone)
    sources = tuple(sorted(history.mentions))
    series = tuple(sorted({ALL, *(one for one, _ in history.complainants)}))
    valid = np.array([~history.outages.get(source, np.zeros(hours, dtype=bool)) for source in sources])
    mentions = np.array([history.mentions[source] for source in sources])
    shape = _shape(mentions, valid, slots)
    nothing = np.zeros(hours)
    counts = np.array([[history.complainants.get((s, src), nothing) for src in sources] for s in series])
    share = mentions.sum(1) / mentions.sum()
    weights = valid * _recency(hours)
    counts = _without_bursts(counts, shape[slots], weights)
    level = _level(counts, shape[slots], weights, share)
    rates, evidence = _slot_rates(counts, level, shape, slots, valid)
    return Baseline(
        brand=history.brand,
        series=series,
        sources=sources,
        rates=rates,
        certainty=(counts * valid).sum((1, 2)),
        slot_evidence=evidence.sum(1),
        dispersion=_dispersions(counts[0], rates[0], slots, valid),
    )


def weeks_with_mentions(history: History) -> int:
    """Return in how many weeks, counted back from the end, anything was said."""
    total = np.sum(list(history.mentions.values()), axis=0) if history.mentions else np.zeros(0)
    whole = total[len(total) % _HOURS_A_WEEK :].reshape(-1, _HOURS_A_WEEK)
    # What is left of the oldest week counts once most of it is there.
    rest = total[: len(total) % _HOURS_A_WEEK]
    oldest = len(rest) > _HOURS_A_WEEK / 2 and rest.any()
    return int(whole.any(axis=1).sum()) + int(oldest)


def _shape(mentions: Numbers, valid: NDArray[np.bool_], slots: NDArray[np.intp]) -> Numbers:
    """Return how busy the brand's week is, by slot; the hours in which all sources were silent left out."""
    heard = valid.any(0)
    counts = np.bincount(slots, (mentions * valid).sum(0), SLOTS).astype(np.float64)
    return weekly_shape(counts, np.bincount(slots, heard, SLOTS).astype(np.float64))


def _recency(hours: int) -> Numbers:
    """Return the weight of each hour: half for each HALF_LIFE_WEEKS that it is ago."""
    ago = np.arange(hours, 0, -1) / _HOURS_A_WEEK
    return np.asarray(0.5 ** (ago / HALF_LIFE_WEEKS))


def _level(counts: Numbers, busy: Numbers, weights: Numbers, share: Numbers) -> Numbers:
    """Return complainants per hour of usual busyness, by series and source.

    Half a complainant is added to each series, so that what never happened yet is rare and not impossible.
    """
    exposure = np.maximum((weights * busy).sum(1), 1.0)
    return np.asarray(((counts * weights).sum(2) + 0.5 * share) / exposure)


def _without_bursts(counts: Numbers, busy: Numbers, weights: Numbers) -> Numbers:
    """Return `counts` with each hour cut to what is plausible: an earlier burst must not become usual."""
    exposure = np.maximum((weights * busy).sum(1), 1.0)
    level = (counts * weights).sum(2) / exposure
    mean = level[:, :, None] * busy
    return np.asarray(np.minimum(counts, np.ceil(mean + 4 * np.sqrt(mean + USUAL_DISPERSION * mean**2) + 1)))


def _slot_rates(
    counts: Numbers, level: Numbers, shape: Numbers, slots: NDArray[np.intp], valid: NDArray[np.bool_]
) -> tuple[Numbers, Numbers]:
    """Return the rates by series, source and slot, and how many were expected there."""
    seen = np.zeros((*counts.shape[:2], SLOTS))
    hours = np.zeros((valid.shape[0], SLOTS))
    for source in range(valid.shape[0]):
        hours[source] = np.bincount(slots, valid[source].astype(np.float64), SLOTS)
        for one in range(counts.shape[0]):
            seen[one, source] = np.bincount(slots, counts[one, source] * valid[source], SLOTS)
    usual = level[:, :, None] * shape
    expected = usual * hours
    return usual * (SLOT_PRIOR + seen) / (SLOT_PRIOR + expected), expected


def _dispersions(
    counts: Numbers, rates: Numbers, slots: NDArray[np.intp], valid: NDArray[np.bool_]
) -> dict[int, float]:
    """Return, by length of window, how much more a count varies than by chance (squared means).

    By moments over the history, leaning to USUAL_DISPERSION as far as that is noisy.
    """
    seen, mean = (counts * valid).sum(0), (rates[:, slots] * valid).sum(0)
    found = {}
    for window in WINDOWS:
        blocks = len(seen) // window
        n = seen[-blocks * window :].reshape(blocks, window).sum(1)
        mu = mean[-blocks * window :].reshape(blocks, window).sum(1)
        squares = max(float((mu**2).sum()), 1e-9)
        raw = float(((n - mu) ** 2 - mu).sum()) / squares
        noise = float((mu + 2 * mu**2).sum()) / squares**2
        trust = DISPERSION_SPREAD**2 / (DISPERSION_SPREAD**2 + noise)
        found[window] = max(trust * raw + (1 - trust) * USUAL_DISPERSION, 0.01)
    return found
