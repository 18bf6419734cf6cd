"""A store in memory for the page: the same answers as ClickHouse's, counted in Python."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from services.api.buckets import Interval, bucket_starts, zone_named
from services.api.cursor import Cursor
from services.api.queries import Store, to_series
from services.api.responses import (
    EXAMPLE_MENTION,
    BrandSummary,
    Checked,
    MentionOut,
    MentionPage,
    Series,
    SpikePage,
    TopicCount,
)
from services.api.selection import Dimension, Filters, Metric, SpikeFilters
from shared.brands import BrandBook
from shared.errors import DependencyUnavailable
from shared.events import NAMESPACE
from shared.settings import Settings
from shared.spike_events import Spike


def said(name: str, published_at: datetime, **other: Any) -> MentionOut:
    """Return a mention that is unremarkable but for what is given."""
    plain = {
        "id": uuid5(NAMESPACE, name),
        "external_id": name,
        "brand": "Acme",
        "source": "linkedin",
        "text": f"tekst van {name}",
        "published_at": published_at,
        "is_fail": False,
        "fail_terms": (),
        "is_question": False,
        "sentiment": 0.0,
        "sentiment_label": "neutral",
        "stage": "other",
        "topics": (),
        "url": None,
        "author": None,
    }
    return MentionOut.model_validate(EXAMPLE_MENTION | plain | other)


class PageStore(Store):
    """Mentions in a list; `outage` makes every question fail."""

    def __init__(self, *mentions: MentionOut) -> None:
        super().__init__(Settings(), BrandBook())
        self.all = sorted(mentions, key=lambda mention: (mention.published_at, mention.id), reverse=True)
        self.outage = False
        self.checked: list[Checked] = []
        self.raised: list[Spike] = []

    def _found(self, filters: Filters) -> list[MentionOut]:
        if self.outage:
            raise DependencyUnavailable("ClickHouse", "connection refused to 10.0.0.7")
        return [mention for mention in self.all if _matches(mention, filters)]

    async def timeseries(
        self,
        metric: Metric,
        interval: Interval,
        tz: str,
        filters: Filters,
        group_by: tuple[Dimension, ...] = (),
    ) -> list[Series]:
        zone = zone_named(tz)
        starts = bucket_starts(interval, zone, filters.start, filters.end)
        rows: dict[tuple[Any, ...], list[MentionOut]] = defaultdict(list)
        for mention in self._found(filters):
            bucket = max(start for start in starts if start <= mention.published_at)
            names = tuple(getattr(mention, dimension.value) for dimension in group_by)
            rows[int(bucket.timestamp()), *names].append(mention)
        return to_series(
            metric,
            zone,
            starts,
            group_by,
            [
                {"bucket": bucket, "n": len(found), "total": sum(_counts(metric, m) for m in found)}
                | {dimension.value: name for dimension, name in zip(group_by, names, strict=True)}
                for (bucket, *names), found in rows.items()
            ],
        )

    async def mentions(self, filters: Filters, limit: int, cursor: Cursor | None = None) -> MentionPage:
        found = self._found(filters)
        if cursor:
            found = [m for m in found if (m.published_at, m.id) < (cursor.published_at, cursor.id)]
        items = tuple(found[:limit])
        more = len(found) > limit
        return MentionPage(items=items, next=Cursor(items[-1].published_at, items[-1].id) if more else None)

    async def mention(self, mention_id: UUID) -> MentionOut | None:
        raise NotImplementedError("the page shows no single mention")

    async def topics(self, filters: Filters, limit: int) -> list[TopicCount]:
        found = self._found(filters)
        counts = Counter(topic for mention in found for topic in mention.topics)
        return [
            TopicCount(
                topic=topic,
                mentions=n,
                fails=len(self._found(replace(filters, topics=(topic,), fails=True))),
                questions=len(self._found(replace(filters, topics=(topic,), questions=True))),
            )
            for topic, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
        ]

    async def spikes(self, filters: SpikeFilters, limit: int, cursor: Cursor | None = None) -> SpikePage:
        found = [
            spike
            for spike in self.raised
            if spike.kind.value in filters.kinds and (not filters.brands or spike.brand in filters.brands)
        ]
        return SpikePage(items=tuple(found[:limit]), next=None)

    async def accuracy(self, filters: Filters, tz: str) -> list[Checked]:
        return self.checked

    async def brands(self) -> list[BrandSummary]:
        if self.outage:
            raise DependencyUnavailable("ClickHouse", "connection refused to 10.0.0.7")
        return [
            BrandSummary(
                name=name,
                configured=True,
                mentions=len(found),
                fails=sum(mention.is_fail for mention in found),
                questions=sum(mention.is_question for mention in found),
                first_mention=found[-1].published_at,
                last_mention=found[0].published_at,
            )
            for name in sorted({mention.brand for mention in self.all})
            if (found := [mention for mention in self.all if mention.brand == name])
        ]


def _matches(mention: MentionOut, filters: Filters) -> bool:
    return (
        filters.start <= mention.published_at < filters.end
        and (not filters.brands or mention.brand in filters.brands)
        and (not filters.sources or mention.source in filters.sources)
        and (not filters.languages or mention.language in filters.languages)
        and (not filters.stages or mention.stage in filters.stages)
        and (not filters.topics or bool(set(filters.topics) & set(mention.topics)))
        and (mention.is_fail or not filters.fails)
        and (mention.is_question or not filters.questions)
    )


def _counts(metric: Metric, mention: MentionOut) -> float:
    return {
        Metric.MENTIONS: 1,
        Metric.FAILS: int(mention.is_fail),
        Metric.QUESTIONS: int(mention.is_question),
        Metric.NEGATIVE: int(mention.sentiment_label == "negative"),
        Metric.SENTIMENT: mention.sentiment,
        Metric.FAIL_RATE: int(mention.is_fail),
    }[metric]
