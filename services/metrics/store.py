"""The sink's ClickHouse: all SQL that writes mentions, their places and the rollup. Blocking."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any, Self
from uuid import UUID

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from clickhouse_connect.driver.external import ExternalData
from clickhouse_connect.driver.insert import InsertContext
from pydantic_core import to_json

from services.metrics.positions import Hour
from services.metrics.rows import COLUMNS, EPOCH, MICROSECOND, Position, Row, columns
from services.metrics.writer import RowsRefused
from shared.clickhouse import WRITER_SETTINGS, answers, connect, first_line, outages
from shared.correction_events import Correction
from shared.errors import DependencyUnavailable
from shared.settings import Settings

# Codes that speak of values, not of the server (src/Common/ErrorCodes.cpp): 6 CANNOT_PARSE_TEXT,
# 25 CANNOT_PARSE_ESCAPE_SEQUENCE, 26 CANNOT_PARSE_QUOTED_STRING, 27 CANNOT_PARSE_INPUT_ASSERTION_FAILED,
# 41 CANNOT_PARSE_DATETIME, 53 TYPE_MISMATCH, 69 ARGUMENT_OUT_OF_BOUND, 70 CANNOT_CONVERT_TYPE,
# 72 CANNOT_PARSE_NUMBER, 117 INCORRECT_DATA, 130 CANNOT_READ_ARRAY_FROM_TEXT, 131 TOO_LARGE_STRING_SIZE,
# 321 VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE, 349 CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN,
# 376 CANNOT_PARSE_UUID, 407 DECIMAL_OVERFLOW, 469 VIOLATED_CONSTRAINT.
# Any other answer is waited out: what is wrong with a table or a grant is no reason to put mentions aside.
_REFUSALS = frozenset({6, 25, 26, 27, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 376, 407, 469})

# How the lines of rows.py are read.
_LINES = {
    "input_format_skip_unknown_fields": 1,
    "input_format_null_as_default": 1,
    "input_format_defaults_for_omitted_fields": 1,
    "input_format_json_read_objects_as_strings": 1,
    "input_format_allow_errors_num": 0,
    "date_time_input_format": "best_effort",
}

# The rows of one place that are not merged yet count once.
_CONTESTED = """
SELECT id, place.1 AS brand, toUnixTimestamp64Milli(place.2) AS published_ms, place.3 AS version
FROM
(
    SELECT id, groupArray((brand, published_at, latest)) AS places
    FROM
    (
        SELECT id, brand, published_at, max(version) AS latest
        FROM mention_positions
        WHERE id IN (SELECT id FROM asked)
        GROUP BY id, brand, published_at
    )
    GROUP BY id
    HAVING count() > 1
)
ARRAY JOIN places AS place
"""

_HOURS = """
SELECT DISTINCT brand, toUnixTimestamp(toStartOfHour(published_at))
FROM mention_positions
WHERE id IN (SELECT id FROM asked)
"""

# Later than every version there is, and taken before the recount reads: of two recounts of an hour the one
# that wins saw at least what the other saw.
_NEXT_VERSION = """
SELECT greatest(toUInt64(toUnixTimestamp64Micro(now64(6))), max(version) + 1) FROM mentions_hourly
"""

# What the employer itself says is shown and does not count.
# The second half brings groups that stood in the rollup and have no mention any more.
_RECOUNT = """
INSERT INTO mentions_hourly (
    brand, hour, source, language, stage,
    mentions, fails, questions, negatives, positives, sentiment_sum, unsure, version, is_deleted
)
SELECT
    brand, hour, source, language, stage,
    sum(mentions) AS total, sum(fails), sum(questions), sum(negatives), sum(positives), sum(sentiment_sum),
    sum(unsure),
    {version:UInt64}, total = 0
FROM
(
    SELECT
        brand, toStartOfHour(published_at) AS hour, source, language, stage,
        count() AS mentions, countIf(is_fail) AS fails, countIf(is_question) AS questions,
        countIf(sentiment_label = 'negative') AS negatives,
        countIf(sentiment_label = 'positive') AS positives,
        sum(toFloat64(sentiment)) AS sentiment_sum, countIf(sentiment_unsure) AS unsure
    FROM labelled_mentions
    WHERE author_kind != 'employer' AND (brand, toStartOfHour(published_at)) IN
        (SELECT brand, hour FROM touched)
    GROUP BY brand, hour, source, language, stage
    UNION ALL
    SELECT DISTINCT brand, hour, source, language, stage, 0, 0, 0, 0, 0, 0, 0
    FROM mentions_hourly
    WHERE (brand, hour) IN
        (SELECT brand, hour FROM touched)
)
GROUP BY brand, hour, source, language, stage
"""


class ClickHouseStore:
    """A `writer.Store` in ClickHouse. Safe to use from several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inserts: dict[str, InsertContext] = {}
        self._inserting = Lock()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return a store with a client of its own; raises as shared.clickhouse.connect does."""
        return cls(connect(settings, more_settings=WRITER_SETTINGS))

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def note_places(self, positions: Sequence[Position]) -> dict[UUID, list[Position]]:
        """Note where mentions are about to stand; return all positions of those that stood elsewhere too."""
        contested: dict[UUID, list[Position]] = defaultdict(list)
        ids = _asked(position.id for position in positions)
        with answers():
            names = ("id", "version", "brand", "published_at")
            self._insert("mention_positions", names, columns(positions))
            found = self._client.query(_CONTESTED, external_data=ids).result_rows
        for mention, brand, published_ms, version in found:
            contested[mention].append(Position(mention, version, brand, published_ms))
        return dict(contested)

    def insert(self, rows: Sequence[Row], token: str) -> None:
        """Insert rows of `mentions`; raises RowsRefused when it is for what is in them."""
        try:
            with outages():
                self._client.raw_insert(
                    "mentions",
                    COLUMNS,
                    insert_block=b"\n".join(rows),
                    fmt="JSONEachRow",
                    settings=_LINES | {"insert_deduplication_token": token},
                )
        except Error as error:
            if error.code in _REFUSALS:
                raise RowsRefused(first_line(error)) from error
            raise DependencyUnavailable("ClickHouse", first_line(error)) from error

    def correct(self, corrections: Sequence[Correction]) -> list[Hour]:
        """Store `corrections` and return the hours that their mentions count in, or ever counted in."""
        rows = [
            (c.mention_id, c.label.value, c.stored_value, c.by, (c.corrected_at - EPOCH) // MICROSECOND)
            for c in corrections
        ]
        ids = _asked({c.mention_id for c in corrections})
        with answers():
            self._insert("corrections", ("id", "label", "value", "by", "version"), columns(rows))
            # Asked after the insert, as places are noted before a mention is written: of a mention and a
            # correction that come at the same time at least one sees the other.
            found = self._client.query(_HOURS, external_data=ids).result_rows
        return [Hour(brand, start * 1_000) for brand, start in found]

    def recount(self, hours: Iterable[Hour]) -> None:
        """Count `hours` anew from the mentions that are shown, and replace the rollup's figures."""
        rows = [(hour.brand, hour.start_ms // 1000) for hour in hours]
        touched = _table("touched", "brand String, hour DateTime('UTC')", rows)
        with answers():
            version = self._client.query(_NEXT_VERSION).result_rows[0][0]
            self._client.command(_RECOUNT, parameters={"version": version}, external_data=touched)

    def _insert(self, table: str, names: Sequence[str], data: list[Sequence[Any]]) -> None:
        # One context a table, used again: it asks for the types once. As it refers to itself, one for each
        # insert would keep its rows until the garbage collector comes by (docs/performance.md).
        with self._inserting:
            if table not in self._inserts:
                context = self._client.create_insert_context(table, names, column_oriented=True)
                self._inserts[table] = context
            self._client.insert(data=data, context=self._inserts[table])


def _table(name: str, structure: str, rows: Iterable[tuple[str | int, ...]]) -> ExternalData:
    """Return rows that go along with one query as a table of it: a query's parameters could not hold them."""
    data = b"\n".join(map(to_json, rows))
    return ExternalData(file_name=name, fmt="JSONCompactEachRow", structure=structure, data=data)


def _asked(ids: Iterable[UUID]) -> ExternalData:
    """Return ids that go along with one query as its table `asked`."""
    # RowBinary has an id as two little-endian halves, the high one first.
    data = b"".join([one.bytes[7::-1] + one.bytes[:7:-1] for one in ids])
    return ExternalData(file_name="asked", fmt="RowBinary", structure="id UUID", data=data)
