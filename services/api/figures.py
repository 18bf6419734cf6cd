"""How sure a figure is: intervals of shares, and of the change from one period to the next. Pure.

All intervals are 95 %. Sources:
- a share: the score interval, E. B. Wilson, JASA 22 (1927) 209-212;
- the difference of two shares: R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10;
- the ratio of two counts over equally long periods: given their sum one of them is binomial, so the interval
  of its share gives that of the ratio, J. Przyborowski and H. Wilenski, Biometrika 31 (1940) 313-323;
- mentions come in clumps (one post, thirty replies), so that days differ more than chance makes them. The
  dispersion found in Pearson's residuals of the days widens the intervals by its root, P. McCullagh and
  J. A. Nelder, Generalized Linear Models (1989), sections 4.5 and 6.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

Z95 = 1.959963984540054
LEAST_EVENTS = 10
"""With fewer events, clumps counted once, an interval is so wide that it only distracts."""


@dataclass(frozen=True)
class Bounds:
    """A 95 % interval."""

    low: float
    high: float


class Verdict(StrEnum):
    """What can be said of a change."""

    LESS = "less"
    MORE = "more"
    UNCLEAR = "unclear"
    TOO_FEW = "too few to say"


@dataclass(frozen=True)
class Change:
    """From the period before to this one; `value` and `bounds` are None when there are too few to say."""

    verdict: Verdict
    value: float | None = None
    bounds: Bounds | None = None


@dataclass(frozen=True)
class Daily:
    """One day: how many mentions, and how many of them are what is counted."""

    hits: int
    mentions: int


def wilson(hits: int, total: int, dispersion: float = 1.0) -> Bounds | None:
    """Return the interval of the share hits/total, between 0 and 1; None when there is nothing to share."""
    if total == 0:
        return None
    z2 = Z95**2 * dispersion
    share = hits / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    # Rounding must not push a bound past the share itself: 0 of 12 begins at 0 exactly.
    return Bounds(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def count_change(now: Sequence[int], before: Sequence[int]) -> Change:
    """Return the relative change of a daily count (-0.25: a quarter less) between equally long periods."""
    dispersion = count_dispersion(now, before)
    hits, total = sum(now), sum(now) + sum(before)
    bounds = wilson(hits, total, dispersion)
    if bounds is None or hits == total or total / dispersion < LEAST_EVENTS:
        return Change(Verdict.TOO_FEW)
    relative = Bounds(_odds(bounds.low) - 1, _odds(bounds.high) - 1)
    return Change(_verdict(relative), hits / (total - hits) - 1, relative)


def share_change(now: Sequence[Daily], before: Sequence[Daily]) -> Change:
    """Return the difference of two shares (-0.04: four percentage points less)."""
    dispersion = share_dispersion(now, before)
    (hits, total), (hits_before, total_before) = _sums(now), _sums(before)
    bounds, earlier = wilson(hits, total, dispersion), wilson(hits_before, total_before, dispersion)
    if bounds is None or earlier is None or min(total, total_before) / dispersion < LEAST_EVENTS:
        return Change(Verdict.TOO_FEW)
    share, share_before = hits / total, hits_before / total_before
    difference = share - share_before
    low = difference - sqrt((share - bounds.low) ** 2 + (earlier.high - share_before) ** 2)
    high = difference + sqrt((bounds.high - share) ** 2 + (share_before - earlier.low) ** 2)
    return Change(_verdict(Bounds(low, high)), difference, Bounds(low, high))


def count_dispersion(*periods: Sequence[int]) -> float:
    """Return how much more days vary than Poisson counts do around their period's mean; at least 1."""
    squares, freedom = 0.0, 0
    for counts in periods:
        if total := sum(counts):
            mean = total / len(counts)
            squares += sum((count - mean) ** 2 for count in counts) / mean
            freedom += len(counts) - 1
    return _dispersion(squares, freedom)


def share_dispersion(*periods: Sequence[Daily]) -> float:
    """Return how much more days vary than binomial counts do around their period's share; at least 1."""
    squares, freedom = 0.0, 0
    for days in periods:
        hits, total = _sums(days)
        if 0 < hits < total:
            share = hits / total
            filled = [day for day in days if day.mentions]
            squares += sum((day.hits - day.mentions * share) ** 2 / day.mentions for day in filled) / (
                share * (1 - share)
            )
            freedom += len(filled) - 1
    return _dispersion(squares, freedom)


def _dispersion(squares: float, freedom: int) -> float:
    return max(1.0, squares / freedom) if freedom else 1.0


def _sums(days: Sequence[Daily]) -> tuple[int, int]:
    return sum(day.hits for day in days), sum(day.mentions for day in days)


def _odds(share: float) -> float:
    return share / (1 - share)


def _verdict(bounds: Bounds) -> Verdict:
    if bounds.high < 0:
        return Verdict.LESS
    return Verdict.MORE if bounds.low > 0 else Verdict.UNCLEAR
