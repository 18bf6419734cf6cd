"""Everything the API asks of ClickHouse: all its SQL stands here. It only reads.

Every value is bound server-side ({name:Type}); what is formatted into SQL comes from the closed sets below.
`FINAL`, which the view labelled_mentions has in it, makes each mention count once, whatever was replayed;
that view has the corrections of people in it too. Where the question allows it, series come from
the hourly rollup; the answer is the same (tests/integration/test_api.py holds that).
"""

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from services.api.buckets import Interval, TooManyPoints, bucket_starts, on_whole_hours, zone_named
from services.api.cursor import Cursor
from services.api.responses import (
    AuthorOut,
    BrandSummary,
    Checked,
    MentionOut,
    MentionPage,
    Point,
    Series,
    SpikePage,
    TopicCount,
)
from services.api.selection import (
    PUBLIC,
    Dimension,
    Filters,
    Metric,
    SpikeFilters,
    search_terms,
)
from shared.brands import BrandBook
from shared.clickhouse import connect, outages
from shared.errors import DependencyUnavailable
from shared.settings import Settings
from shared.spike_events import Spike

MAX_POINTS = 100_000
MAX_WORKERS = 8
MAX_WAITING = 100
QUERY_SETTINGS = {
    "max_execution_time": 20,
    # A mention's key holds its time, so the rows of one key never lie in two partitions.
    "do_not_merge_across_partitions_select_final": 1,
}
TABLES = (
    "mentions", "mention_positions", "mentions_hourly", "spikes", "corrections", "labelled_mentions"
)  # fmt: skip
_UNKNOWN_TABLE_OR_DATABASE = ("code: 60.", "code 60", "code: 81.", "code 81")

# What a metric adds up, over mentions and over the rollup; ratios are divided by the mentions afterwards.
_SUM_OF_MENTIONS = {
    Metric.MENTIONS: "count()",
    Metric.FAILS: "countIf(is_fail)",
    Metric.QUESTIONS: "countIf(is_question)",
    Metric.NEGATIVE: "countIf(sentiment_label = 'negative')",
    Metric.SENTIMENT: "sum(toFloat64(sentiment))",
    Metric.FAIL_RATE: "countIf(is_fail)",
    Metric.UNSURE: "countIf(sentiment_unsure)",
}
_SUM_OF_HOURS = {
    Metric.MENTIONS: "sum(mentions)",
    Metric.FAILS: "sum(fails)",
    Metric.QUESTIONS: "sum(questions)",
    Metric.NEGATIVE: "sum(negatives)",
    Metric.SENTIMENT: "sum(sentiment_sum)",
    Metric.FAIL_RATE: "sum(fails)",
    Metric.UNSURE: "sum(unsure)",
}
_EACH_TOPIC = "arrayJoin(arrayDistinct(topics))"
_EACH_ASKED_TOPIC = "arrayJoin(arrayIntersect(topics, {topics:Array(String)}))"
_MENTION_COLUMNS = (
    "id, source, external_id, brand, other_brands, author_name, author_handle, text, url, published_at, "
    "received_at, in_reply_to, conversation_id, kind, rating, rating_scale, metadata, language, sentiment, "
    "sentiment_label, confidence, sentiment_unsure, is_fail, fail_terms, is_question, topics, stage, "
    "author_kind, hashtags, model, corrected"
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Query:
    """A statement and the values that are bound to it."""

    sql: str
    values: dict[str, Any]


class Store:
    """The mentions in ClickHouse. Raises DependencyUnavailable while it does not answer."""

    def __init__(self, settings: Settings, brands: BrandBook) -> None:
        self._settings = settings
        self._brand_book = brands
        self._client: Client | None = None
        self._connecting = threading.Lock()
        self._waiting = 0
        self._threads = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="clickhouse")

    async def timeseries(
        self,
        metric: Metric,
        interval: Interval,
        tz: str,
        filters: Filters,
        group_by: tuple[Dimension, ...] = (),
    ) -> list[Series]:
        """Return a series per group, by group; without `group_by` exactly one. Empty buckets are there.

        Raises TooManyPoints when they would not fit in an answer, ValueError on an unknown time zone.
        """
        zone = zone_named(tz)
        starts = bucket_starts(interval, zone, filters.start, filters.end)
        rows = await self._rows(timeseries_query(metric, starts, filters, group_by))
        return to_series(metric, zone, starts, group_by, rows)

    async def mentions(self, filters: Filters, limit: int, cursor: Cursor | None = None) -> MentionPage:
        """Return up to `limit` mentions after `cursor`, newest first."""
        rows = await self._rows(mentions_query(filters, limit + 1, cursor))
        items = tuple(to_mention(row) for row in rows[:limit])
        more = len(rows) > limit
        return MentionPage(items=items, next=Cursor(items[-1].published_at, items[-1].id) if more else None)

    async def mention(self, mention_id: UUID) -> MentionOut | None:
        """Return one mention, None when there is none with this id."""
        rows = await self._rows(mention_query(mention_id))
        return to_mention(rows[0]) if rows else None

    async def topics(self, filters: Filters, limit: int) -> list[TopicCount]:
        """Return the `limit` topics that are mentioned most; a mention counts in each of its topics."""
        return [TopicCount(**row) for row in await self._rows(topics_query(filters, limit))]

    async def spikes(self, filters: SpikeFilters, limit: int, cursor: Cursor | None = None) -> SpikePage:
        """Return up to `limit` spikes after `cursor`, newest first."""
        rows = await self._rows(spikes_query(filters, limit + 1, cursor))
        items = tuple(Spike.model_validate_json(row["event"]) for row in rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return SpikePage(items=items, next=Cursor(last["raised_at"], last["id"]) if last else None)

    async def accuracy(self, filters: Filters, tz: str) -> list[Checked]:
        """Return, by month and label, how often people who looked agreed with the model; oldest first."""
        return [Checked(**row) for row in await self._rows(accuracy_query(filters, tz))]

    async def brands(self) -> list[BrandSummary]:
        """Return the brands of klankbord.toml and of the data, by name."""
        seen = {row["name"]: row for row in await self._rows(BRANDS_QUERY)}
        configured = {brand.name for brand in self._brand_book.brands}
        return [
            _brand_summary(name, name in configured, seen.get(name))
            for name in sorted(configured | seen.keys(), key=lambda name: (name.casefold(), name))
        ]

    async def ready(self) -> Mapping[str, str]:
        """Return what keeps the store from answering: {} when nothing does."""
        try:
            rows = await self._rows(TABLES_QUERY)
        except DependencyUnavailable as error:
            return {"clickhouse": error.reason}
        missing = set(TABLES) - {row["name"] for row in rows}
        return {"clickhouse": _missing_tables(missing)} if missing else {}

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _rows(self, query: Query) -> Sequence[Row]:
        if self._waiting >= MAX_WAITING:
            raise DependencyUnavailable("ClickHouse", f"{MAX_WAITING} queries are waiting already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)
        finally:
            self._waiting -= 1

    def _read(self, query: Query) -> Sequence[Row]:
        try:
            with outages():
                result = self._connected().query(query.sql, query.values, QUERY_SETTINGS, tz_mode="aware")
                return list(result.named_results())
        except DatabaseError as error:
            if any(code in str(error).lower() for code in _UNKNOWN_TABLE_OR_DATABASE):
                raise DependencyUnavailable("ClickHouse", _missing_tables(TABLES)) from error
            raise

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = connect(self._settings)
            return self._client


def _missing_tables(tables: Iterable[str]) -> str:
    return f"has no table {', '.join(sorted(tables))} yet: run klankbord migrate"


def timeseries_query(
    metric: Metric, starts: tuple[datetime, ...], filters: Filters, group_by: tuple[Dimension, ...]
) -> Query:
    """Return the query that sums `metric` by bucket and group; each row's bucket is a start in epoch seconds.

    ClickHouse knows nothing of time zones here: it rounds down to the starts that it is given.
    """
    rolled_up = answers_from_rollup(starts, filters, group_by)
    table, time, sums = (
        ("mentions_hourly FINAL", "hour", _SUM_OF_HOURS)
        if rolled_up
        else ("labelled_mentions", "published_at", _SUM_OF_MENTIONS)
    )
    where, values = _where(filters, time)
    groups = [_group_expression(dimension, filters) for dimension in group_by]
    by = ", ".join(["bucket", *(dimension.value for dimension in group_by)])
    columns = ", ".join(
        [
            f"roundDown(toInt64(toUnixTimestamp({time})), {{starts:Array(Int64)}}) AS bucket",
            *groups,
            f"{sums[Metric.MENTIONS]} AS n",
            f"{sums[metric]} AS total",
        ]
    )
    sql = (
        f"SELECT {columns} FROM {table} WHERE {where} GROUP BY {by} HAVING n > 0 "
        "ORDER BY bucket LIMIT {row_limit:UInt32}"
    )
    epochs = [int(start.timestamp()) for start in starts]
    return Query(sql, {**values, "starts": epochs, "row_limit": MAX_POINTS + 1})


def answers_from_rollup(
    starts: tuple[datetime, ...], filters: Filters, group_by: tuple[Dimension, ...]
) -> bool:
    """Whether the hourly rollup answers exactly: whole UTC hours, and nothing it does not know of."""
    by_unknown = (
        filters.topics or filters.fails or filters.questions or filters.text or filters.author_kinds != PUBLIC
    )
    return (
        not by_unknown
        and Dimension.TOPIC not in group_by
        and on_whole_hours((*starts, filters.start, filters.end))
    )


def _group_expression(dimension: Dimension, filters: Filters) -> str:
    if dimension is not Dimension.TOPIC:
        return dimension.value
    return f"{_EACH_ASKED_TOPIC if filters.topics else _EACH_TOPIC} AS topic"


def _where(filters: Filters, time: str) -> tuple[str, dict[str, Any]]:
    """Return the conditions of `filters` and their values; `time` is the column that holds the time."""
    clauses = [
        f"{time} >= {{start:DateTime64(6, 'UTC')}}",
        f"{time} < {{end:DateTime64(6, 'UTC')}}",
    ]
    values: dict[str, Any] = {"start": _utc_text(filters.start), "end": _utc_text(filters.end)}
    _choose(
        clauses,
        values,
        brand=filters.brands,
        source=filters.sources,
        language=filters.languages,
        stage=filters.stages,
    )
    if filters.topics:
        clauses.append("hasAny(topics, {topics:Array(String)})")
        values["topics"] = list(filters.topics)
    if time == "published_at" and filters.author_kinds:
        # The rollup has the public only.
        kinds = set(filters.author_kinds)
        values["kinds"] = sorted(kinds | {""} if kinds & set(PUBLIC) else kinds)
        clauses.append("author_kind IN {kinds:Array(String)}")
    if filters.fails:
        clauses.append("is_fail")
    if filters.questions:
        clauses.append("is_question")
    if filters.text:
        clauses.append(
            "arrayAll(p -> p > 0, multiSearchAllPositionsCaseInsensitiveUTF8(text, {terms:Array(String)}))"
        )
        values["terms"] = list(search_terms(filters.text))
    return " AND ".join(clauses), values


def _choose(clauses: list[str], values: dict[str, Any], **chosen: tuple[str, ...]) -> None:
    """Add that each column is one of the values that are chosen for it; of none chosen any will do."""
    for column, wanted in chosen.items():
        if wanted:
            clauses.append(f"{column} IN {{{column}s:Array(String)}}")
            values[f"{column}s"] = list(wanted)


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def to_series(
    metric: Metric,
    zone: ZoneInfo,
    starts: tuple[datetime, ...],
    group_by: tuple[Dimension, ...],
    rows: Sequence[Row],
) -> list[Series]:
    """Return `rows` (bucket, group fields, n, total) as series with every bucket, ordered by group.

    Raises TooManyPoints above MAX_POINTS.
    """
    found: dict[tuple[str, ...], dict[int, Row]] = defaultdict(dict)
    if not group_by:
        found[()] = {}
    for row in rows:
        found[tuple(row[dimension.value] for dimension in group_by)][row["bucket"]] = row
    if len(rows) > MAX_POINTS or len(found) * len(starts) > MAX_POINTS:
        raise TooManyPoints(
            f"the answer would have more than {MAX_POINTS:,} points; "
            "use a coarser interval, a shorter period or fewer groups"
        )
    labelled = [(int(start.timestamp()), start.astimezone(zone)) for start in starts]
    return [
        Series(
            group={dimension.value: name for dimension, name in zip(group_by, group, strict=True)},
            points=tuple(_point(metric, t, buckets.get(epoch)) for epoch, t in labelled),
        )
        for group, buckets in sorted(found.items())
    ]


def _point(metric: Metric, t: datetime, row: Row | None) -> Point:
    if row is None:
        return Point(t=t, value=None if metric.is_ratio else 0, n=0)
    value = round(row["total"] / row["n"], 6) if metric.is_ratio else row["total"]
    return Point(t=t, value=value, n=row["n"])


def mentions_query(filters: Filters, limit: int, cursor: Cursor | None) -> Query:
    """Return the query for `limit` mentions after `cursor`, newest first."""
    where, values = _where(filters, "published_at")
    values["row_limit"] = limit
    if cursor is not None:
        where += (
            " AND published_at <= {cursor_time:DateTime64(6, 'UTC')}"
            " AND (published_at, id) < ({cursor_time:DateTime64(6, 'UTC')}, {cursor_id:UUID})"
        )
        values |= {"cursor_time": _utc_text(cursor.published_at), "cursor_id": str(cursor.id)}
    sql = (
        f"SELECT {_MENTION_COLUMNS} FROM labelled_mentions WHERE {where} "
        "ORDER BY published_at DESC, id DESC LIMIT {row_limit:UInt32}"
    )
    return Query(sql, values)


def mention_query(mention_id: UUID) -> Query:
    """Return the query for one mention: it reads the places where it ever stood, and only those granules.

    In the moment in which an edit moves it, it stands at two places; the latest version is meant.
    """
    sql = (
        f"SELECT {_MENTION_COLUMNS} FROM labelled_mentions WHERE (brand, published_at, id) IN "
        "(SELECT brand, published_at, id FROM mention_positions WHERE id = {id:UUID}) "
        "ORDER BY version DESC LIMIT 1"
    )
    return Query(sql, {"id": str(mention_id)})


def to_mention(row: Row) -> MentionOut:
    """Return a row of `mentions` as the API shows it; what the source left out is null."""
    author = AuthorOut(name=row["author_name"] or None, handle=row["author_handle"] or None)
    optional = ("external_id", "url", "in_reply_to", "conversation_id")
    # ClickHouse keeps these as 32-bit floats: six decimals are what they hold.
    numbers = {name: round(row[name], 6) for name in ("sentiment", "confidence", "rating_scale")}
    return MentionOut(
        **{name: row[name] for name in MentionOut.model_fields.keys() & row.keys()}
        | {name: row[name] or None for name in optional}
        | numbers
        | {
            "author": author if author.name or author.handle else None,
            "rating": None if row["rating"] is None else round(row["rating"], 6),
            "metadata": json.loads(row["metadata"] or "{}"),
        }
    )


def topics_query(filters: Filters, limit: int) -> Query:
    """Return the query for the `limit` topics with most mentions."""
    where, values = _where(filters, "published_at")
    sql = (
        f"SELECT {_EACH_TOPIC} AS topic, count() AS mentions, countIf(is_fail) AS fails, "
        f"countIf(is_question) AS questions FROM labelled_mentions WHERE {where} "
        "GROUP BY topic ORDER BY mentions DESC, topic LIMIT {row_limit:UInt32}"
    )
    return Query(sql, {**values, "row_limit": limit})


def spikes_query(filters: SpikeFilters, limit: int, cursor: Cursor | None) -> Query:
    """Return the query for `limit` spikes after `cursor`, newest first."""
    where = [
        "raised_at < {end:DateTime64(6, 'UTC')}",
        "ifNull(ended_at, {end:DateTime64(6, 'UTC')}) >= {start:DateTime64(6, 'UTC')}",
    ]
    values: dict[str, Any] = {
        "start": _utc_text(filters.start),
        "end": _utc_text(filters.end),
        "row_limit": limit,
    }
    _choose(where, values, brand=filters.brands, kind=filters.kinds, severity=filters.severities)
    if filters.active:
        where.append("isNull(ended_at)")
    if cursor is not None:
        where.append("(raised_at, id) < ({cursor_time:DateTime64(6, 'UTC')}, {cursor_id:UUID})")
        values |= {"cursor_time": _utc_text(cursor.published_at), "cursor_id": str(cursor.id)}
    sql = (
        f"SELECT id, raised_at, event FROM spikes FINAL WHERE {' AND '.join(where)} "
        "ORDER BY raised_at DESC, id DESC LIMIT {row_limit:UInt32}"
    )
    return Query(sql, values)


def accuracy_query(filters: Filters, tz: str) -> Query:
    """Return the query for how often the model's labels are those that people gave, by month and label.

    `filters` choose by what the model said; the months are those of the time zone `tz`.
    """
    where, values = _where(filters, "published_at")
    sql = (
        "SELECT formatDateTime(published_at, '%Y-%m', {tz:String}) AS month, label, count() AS checked, "
        f"countIf({_MODEL_SAYS} = value) AS agreed "
        f"FROM (SELECT * FROM mentions FINAL WHERE {where}) AS m "
        "GLOBAL INNER JOIN (SELECT id, label, value FROM corrections FINAL WHERE value != '') AS c "
        "ON c.id = m.id GROUP BY month, label ORDER BY month, label LIMIT 10000"
    )
    return Query(sql, {**values, "tz": tz})


# What the model said, written as people's values are; topics in any order.
_MODEL_SAYS = (
    "multiIf(label = 'sentiment', toString(sentiment_label), label = 'fail', toString(is_fail), "
    "label = 'question', toString(is_question), label = 'stage', toString(stage), "
    "label = 'author_kind', toString(author_kind), label = 'language', toString(language), "
    "label = 'topics' AND arraySort(JSONExtract(value, 'Array(String)')) = arraySort(arrayMap(t -> "
    "toString(t), topics)), value, '')"
)


BRANDS_QUERY = Query(
    "SELECT brand AS name, count() AS mentions, countIf(is_fail) AS fails, "
    "countIf(is_question) AS questions, "
    "min(published_at) AS first_mention, max(published_at) AS last_mention "
    "FROM labelled_mentions WHERE author_kind != 'employer' GROUP BY brand ORDER BY brand LIMIT 10000",
    {},
)
TABLES_QUERY = Query("SELECT name FROM system.tables WHERE database = currentDatabase()", {})


def _brand_summary(name: str, configured: bool, seen: Row | None) -> BrandSummary:
    counts = {"mentions": 0, "fails": 0, "questions": 0, "first_mention": None, "last_mention": None}
    return BrandSummary(**{**counts, **(seen or {}), "name": name, "configured": configured})
