"""The API on the real engine: exact figures, on the rollup and on the mentions, and nothing that slips in."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from clickhouse_connect.driver.client import Client

from services.api import queries
from services.api.app import create_app
from services.api.buckets import Interval, bucket_starts, zone_named
from services.api.queries import Store
from services.api.responses import Series
from services.api.selection import Dimension, Filters, Metric
from services.metrics.migrate import migrate
from services.metrics.positions import Hour
from services.metrics.rows import Position
from services.metrics.store import ClickHouseStore
from shared.brands import BrandBook, parse_brands
from shared.clickhouse import connect
from shared.clock import ManualClock
from shared.settings import Settings

pytestmark = pytest.mark.io
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
BOOK = parse_brands('[[brands]]\nname = "Acme"\n[[brands]]\nname = "Stil"')


@dataclass(frozen=True)
class Row:
    """One row of `mentions`: what a test does not say is unremarkable."""

    published_at: datetime
    brand: str = "Acme"
    source: str = "linkedin"
    language: str = "nl"
    stage: str = "other"
    topics: tuple[str, ...] = ()
    is_fail: bool = False
    is_question: bool = False
    sentiment: float = 0.0
    sentiment_unsure: bool = False
    text: str = "tekst"
    metadata: str = "{}"
    id: UUID = field(default_factory=uuid4)
    version: int = 1
    is_deleted: int = 0

    @property
    def label(self) -> str:
        if self.sentiment == 0:
            return "neutral"
        return "negative" if self.sentiment < 0 else "positive"

    @property
    def milliseconds(self) -> int:
        return (self.published_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    def values(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return own | {
            "topics": list(self.topics),
            "sentiment_label": self.label,
            "received_at": self.published_at + timedelta(seconds=1),
            "external_id": str(self.id),
            "kind": "post",
            "confidence": 0.8,
            "model": "test-1",
        }


def put(client: Client, rows: list[Row]) -> None:
    """Insert `rows` as the sink does: places, mentions, and the rollup of their hours counted anew."""
    sink = ClickHouseStore(client)
    sink.note_places([Position(row.id, row.version, row.brand, row.milliseconds) for row in rows])
    values = [row.values() for row in rows]
    client.insert("mentions", [list(value.values()) for value in values], column_names=list(values[0]))
    sink.recount({Hour(row.brand, row.milliseconds // 3_600_000 * 3_600_000) for row in rows})


def new_database(store_settings: Settings) -> Settings:
    settings = store_settings.model_copy(update={"clickhouse_database": f"api_{uuid4().hex[:12]}"})
    migrate(settings)
    return settings


@pytest.fixture
def settings(store_settings: Settings) -> Settings:
    return new_database(store_settings)


@pytest.fixture
def clickhouse(settings: Settings) -> Iterator[Client]:
    client = connect(settings)
    yield client
    client.command(f"DROP DATABASE {settings.clickhouse_database}")
    client.close()


async def serving(settings: Settings, book: BrandBook = BOOK) -> AsyncIterator[httpx.AsyncClient]:
    store = Store(settings, book)
    transport = httpx.ASGITransport(create_app(settings, store, ManualClock(NOW)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client
    await asyncio.to_thread(store.close)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async for client in serving(settings):
        yield client


async def get(api: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    response = await api.get(path, params=params)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# A random world, and what it must answer, counted a second time in plain Python.

BRANDS = ("Acme", "Beta", 'O\'Neill \\ "Zn"')
SOURCES = ("linkedin", "mail")
TOPICS = ("a", "b", "c")
STAGES = ("silence", "offer", "other")
AUTUMN, SPRING = utc("2026-10-25 01:00"), utc("2026-03-29 01:00")


def random_rows(dice: random.Random, count: int) -> list[Row]:
    """Mentions around both clock changes, some on the very hour, some later edited, moved or deleted."""
    rows = []
    for _ in range(count):
        around = dice.choice((AUTUMN, SPRING)) + timedelta(
            milliseconds=dice.randrange(-(4 * 10**8), 4 * 10**8)
        )
        rows.append(
            Row(
                published_at=around.replace(minute=0, second=0, microsecond=0)
                if dice.random() < 0.2
                else around,
                brand=dice.choice(BRANDS),
                source=dice.choice(SOURCES),
                language=dice.choice(("nl", "en")),
                stage=dice.choice(STAGES),
                topics=tuple(dice.sample(TOPICS, dice.randrange(3))),
                is_fail=dice.random() < 0.4,
                is_question=dice.random() < 0.3,
                sentiment_unsure=dice.random() < 0.2,
                sentiment=dice.choice((-0.75, -0.5, 0.0, 0.25, 1.0)),
            )
        )
    return rows


@dataclass(frozen=True)
class World:
    store: Store
    rows: list[Row]


@pytest.fixture(scope="module")
async def world(store_settings: Settings) -> AsyncIterator[World]:
    """Make a database in which every sort of thing has happened; `rows` are the mentions that count."""
    settings = new_database(store_settings)
    client = connect(settings)
    dice = random.Random(20261025)
    rows = random_rows(dice, 500)
    edited = [replace(row, version=2, is_fail=not row.is_fail, stage="offer") for row in rows[:60]]
    moved = [replace(row, version=2, brand="Beta", published_at=AUTUMN) for row in rows[60:80]]
    tombstones = [replace(row, version=2, is_deleted=1) for row in rows[60:80]]
    put(client, rows)
    put(client, [*edited, *moved, *tombstones, *rows[400:]])
    store = Store(settings, BOOK)
    yield World(store, [*edited, *moved, *rows[80:]])
    await asyncio.to_thread(store.close)
    client.command(f"DROP DATABASE {settings.clickhouse_database}")
    client.close()


def label(interval: Interval, moment: datetime, zone: ZoneInfo) -> object:
    local = moment.astimezone(zone)
    return {
        Interval.HOUR: (local.date(), local.hour, local.utcoffset()),
        Interval.DAY: local.date(),
        Interval.WEEK: local.isocalendar()[:2],
        Interval.MONTH: (local.year, local.month),
    }[interval]


def chosen(row: Row, filters: Filters) -> bool:
    return (
        filters.start <= row.published_at < filters.end
        and (not filters.brands or row.brand in filters.brands)
        and (not filters.sources or row.source in filters.sources)
        and (not filters.languages or row.language in filters.languages)
        and (not filters.stages or row.stage in filters.stages)
        and (not filters.topics or bool(set(row.topics) & set(filters.topics)))
    )


def groups_of(row: Row, filters: Filters, group_by: tuple[Dimension, ...]) -> list[tuple[str, ...]]:
    topics = [topic for topic in row.topics if not filters.topics or topic in filters.topics]
    parts = [topics if by is Dimension.TOPIC else [getattr(row, by.value)] for by in group_by]
    return list(product(*parts))


def value_of(metric: Metric, rows: list[Row]) -> float:  # noqa: PLR0911
    match metric:
        case Metric.MENTIONS:
            return len(rows)
        case Metric.FAILS:
            return sum(row.is_fail for row in rows)
        case Metric.QUESTIONS:
            return sum(row.is_question for row in rows)
        case Metric.NEGATIVE:
            return sum(row.sentiment < 0 for row in rows)
        case Metric.SENTIMENT:
            return round(sum(row.sentiment for row in rows) / len(rows), 6)
        case Metric.FAIL_RATE:
            return round(sum(row.is_fail for row in rows) / len(rows), 6)
        case Metric.UNSURE:
            return sum(row.sentiment_unsure for row in rows)


Question = tuple[Metric, Interval, str, Filters, tuple[Dimension, ...]]
Counted = dict[tuple[str, ...], dict[object, tuple[float, int]]]


def expected(rows: list[Row], question: Question) -> Counted:
    """Count `rows` in plain Python: {group: {bucket label: (value, n)}} of the buckets that are not empty."""
    metric, interval, tz, filters, by = question
    found: dict[tuple[str, ...], dict[object, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if chosen(row, filters):
            for group in groups_of(row, filters, by):
                found[group][label(interval, row.published_at, zone_named(tz))].append(row)
    if not by:
        found.setdefault((), defaultdict(list))
    return {
        group: {name: (value_of(metric, rows), len(rows)) for name, rows in buckets.items()}
        for group, buckets in found.items()
    }


def counted(series: list[Series], metric: Metric, interval: Interval, tz: str) -> Counted:
    """Return an answer in the same shape; every empty bucket is checked to be honest."""
    result: Counted = {}
    for one in series:
        filled = [point for point in one.points if point.n]
        empty = [point for point in one.points if not point.n]
        assert all(point.value == (None if metric.is_ratio else 0) for point in empty)
        result[tuple(one.group.values())] = {
            label(interval, point.t, zone_named(tz)): (point.value or 0, point.n) for point in filled
        }
    return result


def questions(dice: random.Random, count: int) -> Iterator[Question]:
    """Any metric and interval with any filters and groups, many of them on whole hours."""
    for number in range(count):
        start = dice.choice((AUTUMN, SPRING)) + timedelta(hours=dice.randrange(-90, 60))
        start += dice.choice((timedelta(), timedelta(), timedelta(minutes=7, microseconds=1)))
        end = start + dice.choice((timedelta(hours=5), timedelta(days=4), timedelta(days=60, hours=1)))
        filters = Filters(
            start,
            end,
            brands=tuple(dice.sample(BRANDS, dice.randrange(3))),
            sources=tuple(dice.sample(SOURCES, dice.randrange(2))),
            languages=tuple(dice.sample(("nl", "en"), dice.randrange(2))),
            stages=tuple(dice.sample(STAGES, dice.randrange(3))),
            topics=tuple(dice.sample(TOPICS, dice.choice((0, 0, 0, 1, 2)))),
        )
        by = tuple(dice.sample(tuple(Dimension)[: dice.choice((4, 4, 5))], dice.randrange(3)))
        tz = dice.choice(("Europe/Amsterdam", "Europe/Amsterdam", "UTC", "Asia/Kolkata", "America/St_Johns"))
        yield tuple(Metric)[number % 6], dice.choice(tuple(Interval)), tz, filters, by


async def test_series_are_exact_and_the_rollup_tells_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled_up = filled = 0
    answers_from_rollup = queries.answers_from_rollup
    for metric, interval, tz, filters, by in questions(random.Random(7), 200):
        question = (metric, interval, tz, filters, by)
        starts = bucket_starts(interval, zone_named(tz), filters.start, filters.end)
        answer = await world.store.timeseries(*question)
        for one in answer:
            assert [point.t.astimezone(UTC) for point in one.points] == list(starts), question
        wanted = expected(world.rows, question)
        assert counted(answer, metric, interval, tz) == wanted, question
        filled += bool(any(wanted.values()))
        if answers_from_rollup(starts, filters, by):
            rolled_up += 1
            monkeypatch.setattr(queries, "answers_from_rollup", lambda *_: False)
            assert await world.store.timeseries(*question) == answer, question
            monkeypatch.undo()
    assert rolled_up > 30
    assert filled > 100


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("interval", Interval)
@pytest.mark.parametrize("group_by", [(), *((dimension,) for dimension in Dimension)])
async def test_each_metric_interval_and_group(
    world: World, metric: Metric, interval: Interval, group_by: tuple[Dimension, ...]
) -> None:
    tz = "Europe/Amsterdam"
    filters = Filters(utc("2026-10-18 22:00"), utc("2026-10-31 23:00"))
    answer = await world.store.timeseries(metric, interval, tz, filters, group_by)
    wanted = expected(world.rows, (metric, interval, tz, filters, group_by))
    assert sum(n for buckets in wanted.values() for _, n in buckets.values()) > 100
    assert counted(answer, metric, interval, tz) == wanted


async def test_topics_are_exact(world: World) -> None:
    filters = Filters(utc("2026-10-01 00:00"), utc("2026-11-01 00:00"), brands=("Beta",))
    rows = [row for row in world.rows if chosen(row, filters)]
    wanted = [
        (topic, len(having), sum(r.is_fail for r in having), sum(r.is_question for r in having))
        for topic in TOPICS
        if (having := [row for row in rows if topic in row.topics])
    ]
    wanted.sort(key=lambda count: (-count[1], count[0]))
    assert len(wanted) == 3
    answer = await world.store.topics(filters, 10)
    assert [(t.topic, t.mentions, t.fails, t.questions) for t in answer] == wanted
    assert await world.store.topics(filters, 2) == answer[:2]


async def test_brands_are_exact(world: World) -> None:
    answer = {brand.name: brand for brand in await world.store.brands()}
    assert answer.keys() == {*BRANDS, "Stil"}
    for name in BRANDS:
        rows = [row for row in world.rows if row.brand == name]
        brand = answer[name]
        assert (brand.mentions, brand.fails, brand.questions, brand.configured) == (
            len(rows),
            sum(row.is_fail for row in rows),
            sum(row.is_question for row in rows),
            name == "Acme",
        )
        published = sorted(row.published_at for row in rows)
        assert brand.first_mention is not None
        assert abs(brand.first_mention - published[0]) < timedelta(milliseconds=1)
        assert brand.last_mention is not None
        assert abs(brand.last_mention - published[-1]) < timedelta(milliseconds=1)


async def test_every_mention_that_counts_is_found_by_its_id(world: World) -> None:
    for row in world.rows[:100]:
        mention = await world.store.mention(row.id)
        assert mention is not None
        assert (mention.id, mention.brand, mention.stage, mention.is_fail) == (
            row.id,
            row.brand,
            row.stage,
            row.is_fail,
        )


# The rest goes over HTTP.


async def test_a_dutch_day_is_a_dutch_day(clickhouse: Client, api: httpx.AsyncClient) -> None:
    put(
        clickhouse,
        [
            Row(utc("2026-10-24 21:59:59.999"), is_fail=True),  # Saturday
            Row(utc("2026-10-24 22:00"), is_fail=True),  # Sunday 00:00+02:00
            Row(utc("2026-10-25 00:30"), is_fail=True),  # 02:30+02:00
            Row(utc("2026-10-25 01:30"), is_fail=True),  # 02:30+01:00, an hour later
            Row(utc("2026-10-25 22:59:59.999")),  # Sunday still
            Row(utc("2026-10-25 23:00")),  # Monday
        ],
    )
    days = await get(api, "/v1/timeseries", metric="fails", **{"from": "2026-10-24", "to": "2026-10-27"})
    assert days == {
        "metric": "fails",
        "interval": "day",
        "tz": "Europe/Amsterdam",
        "from": "2026-10-24T00:00:00+02:00",
        "to": "2026-10-27T00:00:00+01:00",
        "series": [
            {
                "group": {},
                "points": [
                    {"t": "2026-10-24T00:00:00+02:00", "value": 1, "n": 1},
                    {"t": "2026-10-25T00:00:00+02:00", "value": 3, "n": 4},
                    {"t": "2026-10-26T00:00:00+01:00", "value": 0, "n": 1},
                ],
            }
        ],
    }
    hours = await get(api, "/v1/timeseries", interval="hour", **{"from": "2026-10-25", "to": "2026-10-26"})
    points = {point["t"]: point["value"] for point in hours["series"][0]["points"]}
    assert len(points) == 25
    assert {t: value for t, value in points.items() if value} == {
        "2026-10-25T00:00:00+02:00": 1,
        "2026-10-25T02:00:00+02:00": 1,
        "2026-10-25T02:00:00+01:00": 1,
        "2026-10-25T23:00:00+01:00": 1,
    }
    # A period that begins within a day counts from its beginning only.
    partial = await get(
        api, "/v1/timeseries", **{"from": "2026-10-25T01:00:00Z", "to": "2026-10-25T23:00:00Z"}
    )
    assert partial["series"][0]["points"] == [{"t": "2026-10-25T00:00:00+02:00", "value": 2, "n": 2}]


async def test_nothing_there(clickhouse: Client, api: httpx.AsyncClient) -> None:
    week = {"from": "2026-10-19", "to": "2026-10-26", "interval": "week"}
    empty = await get(api, "/v1/timeseries", **week)
    assert empty["series"] == [
        {"group": {}, "points": [{"t": "2026-10-19T00:00:00+02:00", "value": 0, "n": 0}]}
    ]
    rate = await get(api, "/v1/timeseries", metric="fail_rate", **week)
    assert rate["series"][0]["points"][0]["value"] is None
    assert (await get(api, "/v1/timeseries", group_by="brand", **week))["series"] == []
    assert (await get(api, "/v1/topics"))["topics"] == []
    assert [brand["name"] for brand in (await get(api, "/v1/brands"))["brands"]] == ["Acme", "Stil"]
    assert await get(api, "/v1/mentions") == {"mentions": [], "next_cursor": None}
    assert (await api.get(f"/v1/mentions/{uuid4()}")).status_code == 404


async def walk(api: httpx.AsyncClient, url: str) -> AsyncIterator[list[str]]:
    """Follow the Link headers from `url`; yield the ids of each page."""
    following: str | None = url
    while following:
        response = await api.get(following)
        assert response.status_code == 200, response.text
        body = response.json()
        yield [mention["id"] for mention in body["mentions"]]
        following = response.links.get("next", {}).get("url")
        assert (following is not None) == (body["next_cursor"] is not None)


async def test_pages_give_each_mention_once_newest_first(clickhouse: Client, api: httpx.AsyncClient) -> None:
    moments = [utc("2026-10-25 00:00") + timedelta(milliseconds=n // 9) for n in range(95)]
    rows = [Row(moment, is_fail=n % 2 == 0) for n, moment in enumerate(moments)]
    put(clickhouse, rows)
    time_of = {str(row.id): row.published_at for row in rows}
    pages = []
    async for page in walk(api, "/v1/mentions?limit=10"):
        pages.append(page)
        # What arrives while somebody reads changes nothing about the pages that follow.
        put(clickhouse, [Row(utc("2026-10-30 00:00"), text="newer")])
    assert [len(page) for page in pages] == [10] * 9 + [5]
    ids = [mention_id for page in pages for mention_id in page]
    assert len(set(ids)) == 95
    assert set(ids) == time_of.keys()
    assert [time_of[i] for i in ids] == sorted((time_of[i] for i in ids), reverse=True)
    fails = [page async for page in walk(api, "/v1/mentions?limit=7&fails=true&to=2026-10-26")]
    assert {i for page in fails for i in page} == {str(row.id) for row in rows if row.is_fail}
    assert sum(len(page) for page in fails) == 48


async def test_a_cursor_belongs_to_its_query(clickhouse: Client, api: httpx.AsyncClient) -> None:
    put(clickhouse, [Row(utc("2026-10-25 00:00")) for _ in range(3)])
    cursor = (await get(api, "/v1/mentions", limit=1))["next_cursor"]
    assert len((await get(api, "/v1/mentions", limit=2, cursor=cursor))["mentions"]) == 2
    response = await api.get("/v1/mentions", params={"cursor": cursor, "brand": "Beta"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "cursor"


async def test_a_mention_comes_back_whole(clickhouse: Client, api: httpx.AsyncClient) -> None:
    row = Row(
        utc("2026-10-25 00:00:00.123"),
        topics=("response time",),
        is_fail=True,
        sentiment=-0.62,
        text="Regel 1\nregel 2 \\ 'q' 😀",
        metadata='{"city": "Ede", "n": [1]}',
    )
    put(clickhouse, [row])
    mention = await get(api, f"/v1/mentions/{row.id}")
    assert mention == {
        "id": str(row.id),
        "source": "linkedin",
        "external_id": str(row.id),
        "brand": "Acme",
        "other_brands": [],
        "author": None,
        "text": "Regel 1\nregel 2 \\ 'q' 😀",
        "url": None,
        "published_at": "2026-10-25T00:00:00.123000Z",
        "received_at": "2026-10-25T00:00:01.123000Z",
        "in_reply_to": None,
        "conversation_id": None,
        "kind": "post",
        "rating": None,
        "rating_scale": 5.0,
        "metadata": {"city": "Ede", "n": [1]},
        "language": "nl",
        "sentiment": -0.62,
        "sentiment_label": "negative",
        "sentiment_unsure": False,
        "author_kind": "",
        "corrected": [],
        "confidence": 0.8,
        "is_fail": True,
        "fail_terms": [],
        "is_question": False,
        "topics": ["response time"],
        "stage": "other",
        "hashtags": [],
        "model": "test-1",
    }
    assert (await get(api, "/v1/mentions"))["mentions"] == [mention]


async def test_a_mention_that_moves_is_never_missing(clickhouse: Client, api: httpx.AsyncClient) -> None:
    old = Row(utc("2026-10-25 00:00"))
    moved = replace(old, version=2, brand="Beta")
    put(clickhouse, [old])
    put(clickhouse, [moved])
    assert (await get(api, f"/v1/mentions/{old.id}"))["brand"] == "Beta"
    put(clickhouse, [replace(old, version=2, is_deleted=1)])
    assert (await get(api, f"/v1/mentions/{old.id}"))["brand"] == "Beta"
    put(clickhouse, [replace(moved, version=3, is_deleted=1)])
    assert (await api.get(f"/v1/mentions/{old.id}")).status_code == 404


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("wacht", {"long", "short"}),
        ("WACHT reactie", {"long"}),
        ('"geen reactie"', {"long"}),
        ('"reactie geen"', set()),
        ("wékén", {"long"}),
        ("weken", set()),
        ("100%", {"percent"}),
        ("1_0", set()),
        ("%", {"percent"}),
        ("it's", {"quote"}),
        ("C:\\temp", {"quote"}),
        ("\\", {"quote"}),
        ("😀", {"percent"}),
        ("we\u0301ke\u0301n", {"long"}),
    ],
)
async def test_full_text(clickhouse: Client, api: httpx.AsyncClient, q: str, found: set[str]) -> None:
    texts = {
        "long": "Ik WACHT al drie WÉKÉN en geen reactie",
        "short": "wachten op antwoord",
        "percent": "100% tevreden 😀",
        "quote": "It's in C:\\temp",
    }
    rows = {name: Row(utc("2026-10-25 00:00"), text=text) for name, text in texts.items()}
    put(clickhouse, list(rows.values()))
    mentions = (await get(api, "/v1/mentions", q=q))["mentions"]
    assert {mention["id"] for mention in mentions} == {str(rows[name].id) for name in found}


NASTY = (
    "'; DROP TABLE mentions; --",
    "Acme' OR '1'='1",
    "{start:String}",
    "\\",
    "\\'",
    "'])) OR 1 --",
    "a\tb\nc",
    "\\N",
    "[]",
    "%' OR 1=1 --",
    "\x00",
)


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("parameter", ["brand", "source", "topic", "q"])
async def test_injection_is_harmless(world: World, parameter: str, nasty: str) -> None:
    # On the shared world: what slipped in would break the tests beside this one as well.
    transport = httpx.ASGITransport(create_app(Settings(), world.store, ManualClock(NOW)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        response = await api.get("/v1/mentions", params={parameter: nasty})
        if parameter == "q" and not nasty.strip("\x00"):
            assert response.status_code == 422
        else:
            assert response.status_code == 200, response.text
            assert response.json()["mentions"] == []
        if parameter != "q":
            series = await get(api, "/v1/timeseries", **{parameter: nasty, "from": "2026-10-01"})
            assert sum(point["n"] for point in series["series"][0]["points"]) == 0
    assert len((await world.store.mentions(Filters(utc("2026-01-01"), NOW), 5)).items) == 5


@pytest.mark.parametrize(
    "name", ["tab\there", "new\nline", "back\\slash", "quo'te", "ünï", "\\N", "{a:String}"]
)
async def test_odd_names_are_found_again(clickhouse: Client, api: httpx.AsyncClient, name: str) -> None:
    put(clickhouse, [Row(utc("2026-10-25 00:00"), brand=name, topics=(name,)), Row(utc("2026-10-25 00:00"))])
    for params in ({"brand": name}, {"topic": name}, {"brand": name, "topic": name}):
        (mention,) = (await get(api, "/v1/mentions", **params))["mentions"]
        assert mention["brand"] == name
    by = {"group_by": "topic", "topic": name, "from": "2026-10-25", "to": "2026-10-26"}
    (series,) = (await get(api, "/v1/timeseries", **by))["series"]
    assert series == {
        "group": {"topic": name},
        "points": [{"t": "2026-10-25T00:00:00+02:00", "value": 1, "n": 1}],
    }


async def test_the_longest_series_fits_in_a_request(world: World) -> None:
    filters = Filters(utc("2026-10-20 00:00"), utc("2026-10-20 00:00") + timedelta(hours=5_000))
    (series,) = await world.store.timeseries(Metric.MENTIONS, Interval.HOUR, "UTC", filters)
    assert len(series.points) == 5_000
    wanted = sum(chosen(row, filters) for row in world.rows)
    assert sum(point.n for point in series.points) == wanted > 100


async def test_many_at_once(world: World) -> None:
    filters = Filters(utc("2026-01-01"), NOW)
    pages = await asyncio.gather(*(world.store.mentions(filters, 3) for _ in range(40)))
    assert all(page == pages[0] for page in pages)
    assert len(pages[0].items) == 3


async def test_ready_once_migrated(store_settings: Settings, api: httpx.AsyncClient) -> None:
    assert (await api.get("/readyz")).status_code == 200
    missing = store_settings.model_copy(update={"clickhouse_database": "api_never_migrated"})
    async for unmigrated in serving(missing):
        ready = await unmigrated.get("/readyz")
        assert ready.status_code == 503
        assert "klankbord migrate" in ready.json()["waiting_for"]["clickhouse"]
        assert (await unmigrated.get("/v1/brands")).status_code == 503


@asynccontextmanager
async def relay(port: int, target: str) -> AsyncIterator[None]:
    """Pass what arrives at `port` on to `target` during the body; then cut every connection."""
    url = urlsplit(target)
    writers: list[asyncio.StreamWriter] = []
    pumps: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection(url.hostname, url.port)
        writers.extend((writer, to_upstream))
        pumps.extend(
            (asyncio.create_task(pump(reader, to_upstream)), asyncio.create_task(pump(upstream, writer)))
        )

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*pumps, return_exceptions=True)


async def test_an_outage_is_503_and_passes(settings: Settings, clickhouse: Client) -> None:
    put(clickhouse, [Row(utc("2026-10-25 00:00"))])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    paths = ("/v1/timeseries", "/v1/mentions", f"/v1/mentions/{uuid4()}", "/v1/topics", "/v1/brands")
    async for api in serving(settings.model_copy(update={"clickhouse_url": f"http://127.0.0.1:{port}"})):
        for _ in range(2):
            for path in paths:
                response = await api.get(path)
                assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert (await api.get("/readyz")).status_code == 503
            assert (await api.get("/healthz")).status_code == 200
            async with relay(port, settings.clickhouse_url):
                assert (await api.get("/readyz")).status_code == 200
                assert len((await get(api, "/v1/mentions"))["mentions"]) == 1


async def wait_until_healthy(url: str, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + 30
    async with httpx.AsyncClient() as client:
        while True:
            assert process.returncode is None, f"it stopped with {process.returncode}"
            try:
                assert (await client.get(f"{url}/healthz")).status_code == 200
                return
            except httpx.ConnectError:
                assert time.monotonic() < deadline, "it did not answer within 30 s"
                await asyncio.sleep(0.05)


async def test_the_service_starts_without_clickhouse_and_stops_on_sigterm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "KLANKBORD_API_PORT": str(port),
        "KLANKBORD_CLICKHOUSE_URL": "http://127.0.0.1:1",
        "KLANKBORD_LOG_FORMAT": "json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from klankbord.cli import main; main()", "serve", "api",
        env=environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        await wait_until_healthy(url, process)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{url}/v1/brands")).status_code == 503
            assert (await client.get(f"{url}/readyz")).status_code == 503
        process.send_signal(signal.SIGTERM)
        _, logged = await asyncio.wait_for(process.communicate(), 5)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    events = [json.loads(line) for line in logged.decode().splitlines()]
    assert {"starting", "stopped", "dependency_unavailable"} <= {event["event"] for event in events}
    assert {event["service"] for event in events} == {"api"}
