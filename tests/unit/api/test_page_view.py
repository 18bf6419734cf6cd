"""How facts are said: numbers, dates, comparisons, mentions; and what the chart is drawn from."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.api.buckets import Interval
from services.api.figures import Bounds
from services.api.page.chart import DARK, LIGHT, Palette, chart_json, draw, scale_of
from services.api.page.facts import Facts, Sources, gather_facts
from services.api.page.form import Choice, Period, period_of
from services.api.page.view import (
    EXCERPT_CHARACTERS,
    Bucket,
    Card,
    PageView,
    accuracy_rows,
    bounds_text,
    compared_with,
    days_text,
    excerpt,
    mention_view,
    notices,
    page_view,
    safe_url,
    share_text,
    signed,
    spike_view,
)
from services.api.responses import EXAMPLE_SPIKE, Checked, MentionOut
from shared.spike_events import Spike
from tests.unit.api.page_store import PageStore, said

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 11, 23, 14, 20, tzinfo=UTC)
LAST_30_DAYS = Choice()


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


async def seen(mentions: Sequence[MentionOut], choice: Choice = LAST_30_DAYS) -> tuple[PageView, Facts]:
    period = period_of(choice, NOW, AMSTERDAM)
    assert isinstance(period, Period)
    facts = await gather_facts(PageStore(*mentions), choice, period, AMSTERDAM, None)
    return page_view(choice, period, facts, AMSTERDAM, NOW), facts


def daily(n: int, days: range, prefix: str, **other: Any) -> list[MentionOut]:
    """Return `n` mentions a day, so many days ago."""
    return [said(f"{prefix}{day}-{i}", ago(day), **other) for day in days for i in range(n)]


def card(view: PageView, name: str) -> Card:
    return next(card for card in view.cards if card.name == name)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (-0.5, 1, "−0.5"),
        (0.5, 1, "+0.5"),
        (0.04, 1, "0.0"),
        (-0.04, 1, "0.0"),
        (-12.6, 0, "−13"),
        (10, 0, "+10"),
    ],
)
def test_signed(value: float, decimals: int, text: str) -> None:
    assert signed(value, decimals) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 9, "0 %"), (1, 30, "3.3 %"), (1, 3, "33 %"), (3, 3, "100 %"), (0, 0, "–")]
)
def test_share(part: int, whole: int, text: str) -> None:
    assert share_text(part, whole) == text


def test_bounds() -> None:
    assert bounds_text(Bounds(0.0624, 0.1605)) == "6.2–16 %"
    assert bounds_text(None) == ""


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (date(2026, 11, 1), date(2026, 11, 30), "1 – 30 Nov 2026"),
        (date(2026, 10, 25), date(2026, 11, 23), "25 Oct – 23 Nov 2026"),
        (date(2025, 11, 25), date(2026, 11, 24), "25 Nov 2025 – 24 Nov 2026"),
        (date(2026, 11, 23), date(2026, 11, 23), "23 Nov 2026"),
    ],
)
def test_days(first: date, last: date, text: str) -> None:
    assert days_text(first, last) == text


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://example.org/a?b=c", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt://example.org/%0aalert(1)", False),
        ("data:text/html,hi", False),
        ("//example.org", False),
        ("https://", False),
        ("https://[", False),
        ("", False),
        (None, False),
    ],
)
def test_only_web_addresses_are_linked(url: str | None, safe: bool) -> None:
    assert safe_url(url) == (url if safe else None)


def test_an_excerpt_ends_at_a_word() -> None:
    assert excerpt("kort") == "kort"
    text = "woord " * 200
    cut = excerpt(text)
    assert cut.endswith("woord…")
    assert len(cut) <= EXCERPT_CHARACTERS + 1
    assert excerpt("x" * 1000) == "x" * EXCERPT_CHARACTERS + "…"


async def test_the_figures_of_a_period() -> None:
    mentions = [
        *daily(2, range(1, 11), "fail", is_fail=True, sentiment=-0.5, sentiment_label="negative"),
        *daily(1, range(1, 11), "ask", is_question=True),
        *daily(5, range(1, 11), "good", sentiment=0.5, sentiment_label="positive"),
    ]
    view, _ = await seen(mentions)
    assert [(c.name, c.value) for c in view.cards] == [
        ("Mentions", "80"),
        ("#fails", "20"),
        ("Questions", "10"),
        ("Sentiment", "+0.19"),
    ]
    assert card(view, "#fails").note == "25 % of all mentions"
    assert card(view, "#fails").interval == "17–35 %"
    assert card(view, "Sentiment").note == "25 % of mentions negative"
    assert [tab.label for tab in view.tabs] == ["All (80)", "#fails (20)", "Questions (10)"]


async def test_without_mentions_before_no_change_is_shown() -> None:
    view, _ = await seen(daily(2, range(1, 11), "fail", is_fail=True))
    assert [c.movements for c in view.cards] == [(), (), (), ()]
    assert (
        view.compared_with
        == "There is nothing before it to compare with: no mentions in 25 Sep – 24 Oct 2026."
    )
    assert view.notices == ()


async def test_an_improvement_is_called_one() -> None:
    now = [*daily(1, range(1, 29), "f", is_fail=True), *daily(4, range(1, 29), "n")]
    before = [*daily(3, range(31, 59), "f", is_fail=True), *daily(2, range(31, 59), "n")]
    view, _ = await seen(now + before)
    number, share = card(view, "#fails").movements
    assert (number.text, number.direction, number.tone) == ("67 % fewer", "down", "good")
    assert (share.text, share.direction, share.tone) == ("40 points lower", "down", "good")
    (volume,) = card(view, "Mentions").movements
    assert (volume.text, volume.tone) == ("no clear change", "neutral")


async def test_a_source_that_fell_silent_is_no_improvement() -> None:
    steady = [
        *daily(1, range(1, 29), "now-f", is_fail=True),
        *daily(1, range(31, 59), "before-f", is_fail=True),
        *daily(1, range(1, 29), "now-n"),
        *daily(1, range(31, 59), "before-n"),
    ]
    silent = daily(4, range(31, 59), "silent", is_fail=True, source="google-reviews")
    view, facts = await seen(steady + silent)
    assert facts.sources.stopped == ("google-reviews",)
    assert facts.sources.compared == ("linkedin",)
    assert [m.text for m in card(view, "#fails").movements] == ["no clear change", "no clear change"]
    (notice,) = view.notices
    assert "google-reviews (112)" in notice
    assert "left out" in notice


async def test_when_no_source_is_left_to_compare_nothing_is_said() -> None:
    view, facts = await seen(
        daily(1, range(31, 59), "old", is_fail=True, source="a")
        + daily(1, range(1, 20), "new", is_fail=True, source="b")
    )
    assert facts.sources.compared == ()
    assert {m.text for c in view.cards for m in c.movements} == {"too few to say"}
    assert len(view.notices) == 2


def test_a_source_with_little_to_say_may_be_silent() -> None:
    sources = Sources(now={"a": 10}, before={"a": 12, "b": 4})
    assert (sources.stopped, sources.compared, notices(sources)) == ((), (), ())


def test_many_sources_are_named_in_one_sentence() -> None:
    (notice,) = notices(Sources(now={f"s{i:02}": 7 for i in range(20)} | {"a": 9}, before={"a": 9}))
    assert notice.startswith("New in this period: s00 (7), s01 (7)")
    assert "and 12 more" in notice


@pytest.mark.parametrize(
    ("choice", "now", "end"),
    [
        (Choice(days=7), NOW, "on both sides up to 15:00 on the last day."),
        (
            Choice(days=7),
            NOW.replace(hour=23, minute=30),
            "on both sides without the last day, which has only begun.",
        ),
        (
            Choice(first=date(2026, 11, 1), until=date(2026, 11, 7)),
            NOW,
            "Changes are against 25 – 31 Oct 2026.",
        ),
        (Choice(first=date(2026, 11, 24)), NOW.replace(hour=23, minute=30), "nothing to compare yet."),
    ],
)
def test_what_is_compared_is_said(choice: Choice, now: datetime, end: str) -> None:
    period = period_of(choice, now, AMSTERDAM)
    assert isinstance(period, Period)
    assert compared_with(Sources({"a": 1}, {"a": 1}), period, AMSTERDAM).endswith(end)


async def test_days_of_the_chart_are_local_and_today_is_not_complete() -> None:
    late = datetime(2026, 11, 19, 23, 30, tzinfo=UTC)
    view, _ = await seen([said("late", late, is_fail=True), said("today", ago(0.1))], Choice(days=7))
    assert [(b.label, b.mentions, b.fails) for b in view.buckets] == [
        ("Tue 17 Nov 2026", 0, 0),
        ("Wed 18 Nov 2026", 0, 0),
        ("Thu 19 Nov 2026", 0, 0),
        ("Fri 20 Nov 2026", 1, 1),
        ("Sat 21 Nov 2026", 0, 0),
        ("Sun 22 Nov 2026", 0, 0),
        ("Mon 23 Nov 2026 (not complete)", 1, 0),
    ]
    assert view.buckets[0].sentiment == "–"


async def test_weeks_that_are_cut_off_are_not_complete() -> None:
    view, _ = await seen([said("a", ago(3))], Choice(per="week"))
    assert [b.label for b in view.buckets] == [
        "Week of 19 Oct 2026 (not complete)",
        "Week of 26 Oct 2026",
        "Week of 2 Nov 2026",
        "Week of 9 Nov 2026",
        "Week of 16 Nov 2026",
        "Week of 23 Nov 2026 (not complete)",
    ]


async def test_topics_and_stages() -> None:
    view, _ = await seen(
        [
            said("a", ago(1), topics=["pay", "travel-time"], is_fail=True, stage="offer"),
            said("b", ago(2), topics=["pay"], is_question=True, stage="vacancy"),
            said("c", ago(3), topics=["pay"], stage="offer"),
            said("d", ago(4), stage="offer"),
        ],
        Choice(brand="Acme"),
    )
    assert [(r.topic, r.mentions, r.fails, r.questions) for r in view.topics] == [
        ("pay", 3, 1, 1),
        ("travel time", 1, 1, 0),
    ]
    assert (view.topics[1].mentions_width, view.topics[1].url) == (
        33.33,
        "?brand=Acme&days=30&topic=travel-time",
    )
    assert [(r.stage, r.mentions, r.fails, r.share) for r in view.stages] == [
        ("Vacancy", 1, 0, "0 %"),
        ("Offer", 3, 1, "33 %"),
    ]


def test_a_mention_is_shown_in_local_time_and_its_own_language() -> None:
    view = mention_view(
        said(
            "a",
            datetime(2026, 7, 1, 22, 5, tzinfo=UTC),
            language="other",
            author={"name": None, "handle": "@a"},
            rating=3.5,
            fail_terms=["x"],
        ),
        Choice(),
        AMSTERDAM,
    )
    assert (view.time, view.iso_time) == ("2 Jul 2026, 00:05", "2026-07-02T00:05:00+02:00")
    assert (view.lang, view.author, view.rating) == ("", "@a", "3.5 of 5")
    assert view.fail_terms == (), "words that made a #fail belong to one"


def some_buckets(fails: int, mentions: int, days: int = 10) -> list[Bucket]:
    start = datetime(2026, 10, 20, tzinfo=AMSTERDAM)
    return [Bucket(start + timedelta(days=day), f"day {day}", mentions, fails, 0, "–") for day in range(days)]


def test_mentions_stay_away_where_they_would_flatten_the_lines() -> None:
    assert scale_of(some_buckets(fails=10, mentions=80), Interval.DAY).mentions_behind
    crowded = scale_of(some_buckets(fails=10, mentions=81), Interval.DAY)
    assert (crowded.mentions_behind, crowded.top) == (False, 10.8)


@pytest.mark.parametrize("fails", [0, 3])
def test_the_chart_has_the_numbers_at_local_days_above_a_zero_axis(fails: int) -> None:
    plot = draw(some_buckets(fails, 5), Interval.DAY, LIGHT)
    assert plot.y_range.start == 0
    (line,) = plot.select({"name": "fails"})
    assert list(line.data_source.data["fails"]) == [fails] * 10
    # The clocks went back on 25 October: local midnights are a day apart all the same.
    starts = list(line.data_source.data["start"])
    assert {later - earlier for earlier, later in zip(starts, starts[1:], strict=False)} == {
        timedelta(days=1)
    }
    assert [item.label.value for item in plot.legend[0].items] == ["#fails", "questions", "all mentions"][
        : 3 if fails else 2
    ]


def test_each_light_colour_has_a_dark_one() -> None:
    dark = chart_json(some_buckets(1, 2), Interval.DAY)["dark"]
    assert len(dark) == 6
    assert dark[LIGHT.fails] == DARK.fails


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_chart_can_be_made_out(palette: Palette) -> None:
    for behind in (palette.surface, palette.mentions):
        assert contrast(palette.fails, behind) >= 3
        assert contrast(palette.questions, behind) >= 3
    assert contrast(palette.text, palette.surface) >= 4.5


@pytest.mark.parametrize(
    ("changed", "what", "usual"),
    [
        ({}, "42 people complained in an hour", "1.8 are usual then, up to 6 in 99 of 100 such windows"),
        (
            {
                "kind": "drop",
                "distinct_authors": 1,
                "window_from": "2026-03-29T10:00:00Z",
                "expected_high": 0,
            },
            "Only 1 person complained in 24 hours",
            "1.8 are usual then",
        ),
        ({"expected": 12.4}, "42 people complained in an hour", "12 are usual then, up to 6 in 99 of 100"),
    ],
)
def test_a_spike_is_told_in_people(changed: dict[str, Any], what: str, usual: str) -> None:
    seen = spike_view(Spike.model_validate(EXAMPLE_SPIKE | changed), AMSTERDAM)
    assert seen.what == what
    assert seen.usual.startswith(usual)
    assert (seen.active, seen.time) == (True, "30 Mar 2026, 12:00")
    assert seen.about == ("Waiting for an answer", "response time")


def test_disagreement_is_told_with_its_interval_or_as_too_few() -> None:
    found = [
        Checked(month="2026-10", label="fail", checked=19, agreed=0),
        Checked(month="2026-11", label="author_kind", checked=40, agreed=31),
    ]
    newest, oldest = accuracy_rows(found)
    assert (newest.month, newest.label, newest.differ, newest.share) == ("2026-11", "Who speaks", 9, "22 %")
    assert newest.interval == "12–38 %"
    assert (oldest.label, oldest.share, oldest.interval) == ("#fail", "too few to say", "")
