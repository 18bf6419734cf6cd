"""The detector's ClickHouse: all SQL that reads what is usual and what was said just now, and keeps spikes.

Blocking. Every method raises DependencyUnavailable when ClickHouse does not do what it is asked.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

import numpy as np
from clickhouse_connect.driver.client import Client

from services.metrics.baseline import Scope, Series
from services.metrics.seasons import HOUR, Numbers
from services.metrics.spikes import Complaint
from shared.clickhouse import WRITER_SETTINGS, answers, connect
from shared.settings import Settings
from shared.spike_events import MAX_EXCERPT, Spike


class Disk(NamedTuple):
    """One of ClickHouse's disks, in bytes."""

    name: str
    free: int
    total: int


MAX_COMPLAINTS = 200_000
"""Of the last day, the newest; more would be an alarm with any of them."""
MAX_SPIKES = 10_000

# Who it is, as well as the source tells; somebody without a name is somebody else each time.
_WHO = "multiIf(author_handle != '', author_handle, author_name != '', author_name, toString(id))"

_MENTIONS = """
SELECT brand, source, intDiv(toUnixTimestamp(hour), 3600) AS at, sum(mentions)
FROM mentions_hourly FINAL
WHERE hour >= {start:DateTime64(3, 'UTC')} AND hour < {end:DateTime64(3, 'UTC')}
GROUP BY brand, source, at
"""

_COMPLAINANTS = f"""
SELECT brand, series.1 AS scope, series.2 AS name, source, at, uniqExact(who)
FROM
(
    SELECT
        brand, source, intDiv(toUnixTimestamp(published_at), 3600) AS at, {_WHO} AS who,
        arrayJoin(arrayConcat(
            [('all', '')],
            if(stage = 'other', [], [('stage', toString(stage))]),
            arrayMap(topic -> ('topic', toString(topic)), arrayDistinct(topics))
        )) AS series
    FROM labelled_mentions
    WHERE is_fail AND author_kind != 'employer' AND published_at >= {{start:DateTime64(3, 'UTC')}}
        AND published_at < {{end:DateTime64(3, 'UTC')}}
)
GROUP BY brand, scope, name, source, at
"""

_RECENT = f"""
SELECT
    toUnixTimestamp64Milli(published_at) / 1000, brand, source, stage, topics, {_WHO}, id, url,
    substringUTF8(text, 1, {MAX_EXCERPT})
FROM labelled_mentions
WHERE is_fail AND author_kind != 'employer' AND published_at >= {{start:DateTime64(3, 'UTC')}}
    AND published_at <= {{end:DateTime64(3, 'UTC')}}
ORDER BY published_at DESC, id
LIMIT {MAX_COMPLAINTS}
"""

_NEWEST = """
SELECT source, toUnixTimestamp64Milli(max(published_at)) / 1000
FROM mentions FINAL
WHERE published_at >= {start:DateTime64(3, 'UTC')} AND published_at <= {end:DateTime64(3, 'UTC')}
GROUP BY source
"""

_SPIKES = f"""
SELECT event FROM spikes FINAL
WHERE isNull(ended_at) OR ended_at >= {{start:DateTime64(3, 'UTC')}}
ORDER BY raised_at DESC, id
LIMIT {MAX_SPIKES}
"""


@dataclass(frozen=True)
class Past:
    """Counts by hour from `first_hour` (hours since 1970) on.

    `mentions` by brand and source; `complainants` (different people with a #fail) by brand, series, source.
    """

    first_hour: int
    mentions: Mapping[str, Mapping[str, Numbers]]
    complainants: Mapping[str, Mapping[tuple[Series, str], Numbers]]


class SpikeStore:
    """What the detector reads and writes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return a store with a client of its own; raises as shared.clickhouse.connect does."""
        return cls(connect(settings, more_settings=WRITER_SETTINGS))

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def past(self, start: datetime, end: datetime) -> Past:
        """Return the counts from `start` to `end`, both on the hour."""
        first, hours = int(start.timestamp()) // HOUR, int((end - start).total_seconds()) // HOUR
        period = {"start": start, "end": end}
        mentions: dict[str, dict[str, Numbers]] = defaultdict(dict)
        for brand, source, at, count in self._rows(_MENTIONS, period):
            mentions[brand].setdefault(source, np.zeros(hours))[at - first] = count
        people: dict[str, dict[tuple[Series, str], Numbers]] = defaultdict(dict)
        for brand, scope, name, source, at, count in self._rows(_COMPLAINANTS, period):
            key = (Series(Scope(scope), name), source)
            people[brand].setdefault(key, np.zeros(hours))[at - first] = count
        return Past(first, dict(mentions), dict(people))

    def recent(self, start: datetime, end: datetime) -> list[Complaint]:
        """Return the #fails of a period, oldest first."""
        rows = self._rows(_RECENT, {"start": start, "end": end})
        return [
            Complaint(at, brand, source, stage, tuple(topics), who, id_, url, excerpt)
            for at, brand, source, stage, topics, who, id_, url, excerpt in reversed(rows)
        ]

    def newest(self, start: datetime, end: datetime) -> dict[str, float]:
        """Return when each source's newest mention of a period was published, in Unix seconds."""
        rows = self._rows(_NEWEST, {"start": start, "end": end})
        return {row[0]: row[1] for row in rows}

    def disks(self) -> list[Disk]:
        """Return how full ClickHouse's disks are."""
        rows = self._rows("SELECT name, free_space, total_space FROM system.disks", {})
        return [Disk(str(name), int(free), int(total)) for name, free, total in rows]

    def spikes(self, start: datetime) -> list[Spike]:
        """Return the spikes that are on, or ended after `start`."""
        return [Spike.model_validate_json(row[0]) for row in self._rows(_SPIKES, {"start": start})]

    def save(self, spikes: Iterable[Spike], now: datetime) -> None:
        """Keep spikes; of one that is kept already, `now` is the newer version."""
        version = int(now.timestamp() * 1_000_000)
        rows = [
            (
                one.id, version, one.brand or "", one.source or "", one.kind.value, one.severity.value,
                one.stage or "", one.raised_at, one.ended_at, one.model_dump_json(),
            )
            for one in spikes
        ]  # fmt: skip
        if rows:
            names = (
                "id",
                "version",
                "brand",
                "source",
                "kind",
                "severity",
                "stage",
                "raised_at",
                "ended_at",
                "event",
            )
            with answers():
                self._client.insert("spikes", rows, column_names=names)

    def _rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        with answers():
            return self._client.query(sql, parameters=dict(parameters)).result_rows
