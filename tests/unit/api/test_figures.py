"""Intervals against published values, and what may be said of a change."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.figures import (
    Bounds,
    Change,
    Daily,
    Verdict,
    count_change,
    count_dispersion,
    share_change,
    share_dispersion,
    wilson,
)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_intervals(hits: int, total: int, low: float, high: float) -> None:
    bounds = wilson(hits, total)
    assert bounds is not None
    assert (round(bounds.low, 4), round(bounds.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("now", "before", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_difference_of_shares_agrees_with_the_published_intervals(
    now: tuple[int, int], before: tuple[int, int], low: float, high: float
) -> None:
    change = share_change([Daily(*now)], [Daily(*before)])
    assert change.verdict is Verdict.MORE
    assert change.bounds is not None
    assert round(change.bounds.low, 4) == low
    assert round(change.bounds.high, 4) == high


def test_nothing_has_no_share() -> None:
    assert wilson(0, 0) is None


@given(st.integers(1, 10_000), st.data(), st.floats(1, 50))
def test_wilson_holds_the_share_and_mirrors(total: int, data: st.DataObject, dispersion: float) -> None:
    hits = data.draw(st.integers(0, total))
    bounds, mirrored = wilson(hits, total, dispersion), wilson(total - hits, total, dispersion)
    assert bounds is not None
    assert mirrored is not None
    assert 0 <= bounds.low <= hits / total <= bounds.high <= 1
    assert bounds.low == pytest.approx(1 - mirrored.high, abs=1e-9)


@given(st.integers(0, 500), st.integers(1, 500), st.floats(1, 20))
def test_clumps_widen_an_interval(hits: int, misses: int, dispersion: float) -> None:
    narrow, wide = wilson(hits, hits + misses), wilson(hits, hits + misses, dispersion)
    assert narrow is not None
    assert wide is not None
    assert wide.low <= narrow.low + 1e-12
    assert wide.high >= narrow.high - 1e-12


def test_a_clear_fall_of_a_count() -> None:
    change = count_change([10] * 7, [20] * 7)
    assert change.verdict is Verdict.LESS
    assert change.value == -0.5
    # 70 of 210: the score interval of the share is 0.2732 to 0.3996, which as odds is 0.376 to 0.666.
    assert change.bounds is not None
    assert (round(change.bounds.low, 3), round(change.bounds.high, 3)) == (-0.624, -0.334)


def test_the_same_fall_in_clumps_is_not_clear() -> None:
    change = count_change([30, 0, 10, 0, 20, 0, 10], [60, 0, 20, 0, 40, 0, 20])
    assert change.value == -0.5
    assert change.verdict is Verdict.UNCLEAR


def test_two_clumps_are_too_few_to_say() -> None:
    assert count_change([70, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 140]) == Change(Verdict.TOO_FEW)


def test_a_small_difference_is_not_clear() -> None:
    change = count_change([2] * 10, [3] * 10)
    assert change.verdict is Verdict.UNCLEAR
    assert change.bounds is not None
    assert change.bounds.low < 0 < change.bounds.high


@pytest.mark.parametrize(
    ("now", "before"), [([1] * 4, [1] * 5), ([], []), ([0, 0], [0, 0]), ([50, 50], [0, 0])]
)
def test_too_few_to_say(now: list[int], before: list[int]) -> None:
    assert count_change(now, before) == Change(Verdict.TOO_FEW)


def test_everything_gone_is_a_fall_to_nothing() -> None:
    change = count_change([0] * 7, [5] * 7)
    assert change.verdict is Verdict.LESS
    assert change.value == -1
    assert change.bounds is not None
    assert change.bounds.low == -1


def test_a_share_of_few_mentions_is_too_few_to_say() -> None:
    assert share_change([Daily(4, 9)], [Daily(10, 100)]) == Change(Verdict.TOO_FEW)
    assert share_change([Daily(10, 100)], []) == Change(Verdict.TOO_FEW)


def test_a_lower_share() -> None:
    change = share_change([Daily(1, 20)] * 10, [Daily(8, 20)] * 10)
    assert change.verdict is Verdict.LESS
    assert change.value == pytest.approx(-0.35)


def test_dispersion_of_counts() -> None:
    # Means 2 and 4: (4 + 4)/2 + (16 + 16)/4 = 12, over one degree of freedom each.
    assert count_dispersion([0, 4], [0, 8]) == 6
    assert count_dispersion([3, 3, 3], [1, 1, 1]) == 1
    assert count_dispersion([], [0, 0]) == 1


def test_dispersion_of_shares() -> None:
    # Half of them: each day is 5 off what is expected, 25/10 twice, over a variance of 1/4.
    assert share_dispersion([Daily(10, 10), Daily(0, 10), Daily(0, 0)]) == 20
    assert share_dispersion([Daily(10, 10), Daily(4, 4)]) == 1


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=40),
    st.lists(st.integers(0, 200), min_size=1, max_size=40),
)
def test_a_change_lies_in_its_own_interval(now: list[int], before: list[int]) -> None:
    change = count_change(now, before)
    assert (change.value is None) is (change.bounds is None) is (change.verdict is Verdict.TOO_FEW)
    bounds = change.bounds or Bounds(-inf, inf)
    assert bounds.low - 1e-9 <= (change.value or 0) <= bounds.high + 1e-9 or change.value is None
