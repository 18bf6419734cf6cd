"""What is asked of ClickHouse, and what is made of its rows; the SQL itself runs in tests/integration."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from services.api.buckets import Interval, TooManyPoints, bucket_starts
from services.api.cursor import Cursor
from services.api.queries import (
    MAX_POINTS,
    answers_from_rollup,
    mentions_query,
    timeseries_query,
    to_mention,
    to_series,
    topics_query,
)
from services.api.selection import Dimension, Filters, Metric, search_terms

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 3, 27, 23, tzinfo=UTC)
END = datetime(2026, 3, 29, 22, tzinfo=UTC)
FILTERS = Filters(START, END)
STARTS = bucket_starts(Interval.DAY, AMSTERDAM, START, END)
FIRST, SECOND = (int(start.timestamp()) for start in STARTS)
NASTY = "'); DROP TABLE mentions; --"
EVERYTHING = Filters(
    START, END, (NASTY,), (NASTY,), (NASTY,), (NASTY,), (NASTY,), fails=True, questions=True, text=NASTY
)


@pytest.mark.parametrize(
    "query",
    [
        timeseries_query(Metric.FAILS, STARTS, EVERYTHING, tuple(Dimension)),
        timeseries_query(Metric.FAILS, STARTS, Filters(START, END, (NASTY,)), (Dimension.BRAND,)),
        mentions_query(EVERYTHING, 10, Cursor(START, UUID(int=1))),
        topics_query(EVERYTHING, 10),
    ],
)
def test_values_are_bound_never_formatted(query: Any) -> None:
    assert "DROP" not in query.sql
    assert set(re.findall(r"\{(\w+):[^}]+\}", query.sql)) == query.values.keys()


def test_whole_hours_come_from_the_rollup() -> None:
    assert "FROM mentions_hourly FINAL" in timeseries_query(Metric.FAILS, STARTS, FILTERS, ()).sql


@pytest.mark.parametrize(
    ("zone", "filters", "group_by"),
    [
        ("Asia/Kolkata", FILTERS, ()),
        ("Europe/Amsterdam", replace(FILTERS, start=START + timedelta(seconds=1)), ()),
        ("Europe/Amsterdam", replace(FILTERS, end=END - timedelta(microseconds=1)), ()),
        ("Europe/Amsterdam", replace(FILTERS, topics=("a",)), ()),
        ("Europe/Amsterdam", replace(FILTERS, fails=True), ()),
        ("Europe/Amsterdam", replace(FILTERS, questions=True), ()),
        ("Europe/Amsterdam", replace(FILTERS, text="a"), ()),
        ("Europe/Amsterdam", FILTERS, (Dimension.BRAND, Dimension.TOPIC)),
    ],
)
def test_what_the_rollup_does_not_know_comes_from_the_mentions(
    zone: str, filters: Filters, group_by: tuple[Dimension, ...]
) -> None:
    starts = bucket_starts(Interval.DAY, ZoneInfo(zone), filters.start, filters.end)
    assert not answers_from_rollup(starts, filters, group_by)
    assert "FROM labelled_mentions" in timeseries_query(Metric.FAILS, starts, filters, group_by).sql


def row(bucket: int, n: int, total: float, **groups: str) -> dict[str, Any]:
    return {"bucket": bucket, "n": n, "total": total, **groups}


def test_an_empty_bucket_of_a_count_is_zero() -> None:
    (series,) = to_series(Metric.FAILS, AMSTERDAM, STARTS, (), [row(SECOND, 5, 2)])
    assert series.group == {}
    assert [(p.t.isoformat(), p.value, p.n) for p in series.points] == [
        ("2026-03-28T00:00:00+01:00", 0, 0),
        ("2026-03-29T00:00:00+01:00", 2, 5),
    ]


@pytest.mark.parametrize("metric", [Metric.SENTIMENT, Metric.FAIL_RATE])
def test_an_empty_bucket_of_a_ratio_has_no_value(metric: Metric) -> None:
    (series,) = to_series(metric, AMSTERDAM, STARTS, (), [row(FIRST, 3, -1)])
    assert [(p.value, p.n) for p in series.points] == [(-0.333333, 3), (None, 0)]


def test_no_data_is_one_empty_series_or_no_group() -> None:
    (series,) = to_series(Metric.MENTIONS, AMSTERDAM, STARTS, (), [])
    assert [p.value for p in series.points] == [0, 0]
    assert to_series(Metric.MENTIONS, AMSTERDAM, STARTS, (Dimension.BRAND,), []) == []


def test_groups_are_named_and_in_order() -> None:
    by = (Dimension.STAGE, Dimension.BRAND)
    rows = [row(FIRST, 1, 1, brand="B", stage="offer"), row(SECOND, 2, 2, brand="A", stage="offer")]
    series = to_series(Metric.MENTIONS, AMSTERDAM, STARTS, by, rows)
    assert [s.group for s in series] == [
        {"stage": "offer", "brand": "A"},
        {"stage": "offer", "brand": "B"},
    ]
    assert [[p.value for p in s.points] for s in series] == [[0, 2], [1, 0]]


def test_more_points_than_fit_are_refused() -> None:
    rows = [row(FIRST, 1, 1, source=str(number)) for number in range(MAX_POINTS // 2)]
    by = (Dimension.SOURCE,)
    assert len(to_series(Metric.MENTIONS, AMSTERDAM, STARTS, by, rows)) == MAX_POINTS // 2
    rows.append(row(FIRST, 1, 1, source="one more"))
    with pytest.raises(TooManyPoints, match="fewer groups"):
        to_series(Metric.MENTIONS, AMSTERDAM, STARTS, by, rows)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("wacht", ("wacht",)),
        ('wacht  "geen   reactie" zorg', ("wacht", "geen reactie", "zorg")),
        ('"', ()),
        ('""', ()),
        ('een "twee drie', ("een", "twee", "drie")),
        ("100% don't_know \\", ("100%", "don't_know", "\\")),
    ],
)
def test_search_terms(text: str, terms: tuple[str, ...]) -> None:
    assert search_terms(text) == terms


def test_a_mention_without_the_optional_parts() -> None:
    row = {
        "id": UUID(int=1), "source": "s", "external_id": "", "brand": "B", "other_brands": [],
        "author_name": "", "author_handle": "", "text": "t", "url": "", "published_at": START,
        "received_at": END, "in_reply_to": "", "conversation_id": "", "kind": "post", "rating": None,
        "rating_scale": 5.0, "metadata": "", "language": "nl", "sentiment": -0.6200000047683716,
        "author_kind": "candidate", "sentiment_unsure": False, "corrected": ["fail"],
        "sentiment_label": "negative", "confidence": 0.800000011920929, "is_fail": True, "fail_terms": ["x"],
        "is_question": False, "topics": ["a"], "stage": "other", "hashtags": [], "model": "m",
    }  # fmt: skip
    mention = to_mention(row)
    assert (mention.external_id, mention.url, mention.in_reply_to, mention.conversation_id) == (None,) * 4
    assert (mention.author, mention.rating, mention.metadata) == (None, None, {})
    assert (mention.sentiment, mention.confidence) == (-0.62, 0.8)
    filled = to_mention({**row, "author_handle": "@x", "rating": 3.5, "metadata": '{"city": ["Ede"]}'})
    assert filled.author is not None
    assert (filled.author.name, filled.author.handle) == (None, "@x")
    assert (filled.rating, filled.metadata) == (3.5, {"city": ["Ede"]})
