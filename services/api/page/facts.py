"""What the page asks of the store, all at once: everything that it shows, as one frozen value."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from services.api.buckets import Interval
from services.api.cursor import Cursor
from services.api.figures import Daily
from services.api.page.form import Choice, Period, filters_of
from services.api.queries import Store
from services.api.responses import Checked, MentionPage, Point, Series, TopicCount
from services.api.selection import Dimension, Filters, Metric, SpikeFilters
from shared.spike_events import Spike, SpikeKind

OVER_TIME = (Metric.FAILS, Metric.QUESTIONS, Metric.NEGATIVE, Metric.SENTIMENT)
MAX_TOPICS = 12
MAX_MENTIONS = 20
LEAST_OF_A_SOURCE = 5
"""With this many mentions before, none at all is no chance: it would be in 0.7 % of the periods (Poisson)."""
MAX_SOURCES_COMPARED = 500
MAX_SPIKES = 5
SPIKE_KINDS = (SpikeKind.SPIKE.value, SpikeKind.DROP.value)
"""Sources that are silent are told of by comparison with the period before."""


@dataclass(frozen=True)
class Days:
    """One side of the comparison: each day's figures."""

    fails: tuple[Daily, ...]
    questions: tuple[Daily, ...]
    negatives: tuple[Daily, ...]


@dataclass(frozen=True)
class Sources:
    """Mentions by source, in what is compared; the sources that stopped or began in between stand apart."""

    now: Mapping[str, int]
    before: Mapping[str, int]

    @property
    def stopped(self) -> tuple[str, ...]:
        """The sources that delivered before and no longer do."""
        return _without(self.before, self.now)

    @property
    def began(self) -> tuple[str, ...]:
        """The sources that did not deliver before."""
        return _without(self.now, self.before)

    @property
    def compared(self) -> tuple[str, ...]:
        """The sources that like is compared with like by; empty: all of them."""
        apart = {*self.stopped, *self.began}
        return tuple(sorted((self.now.keys() | self.before.keys()) - apart)) if apart else ()


def _without(some: Mapping[str, int], others: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(name for name, n in some.items() if n >= LEAST_OF_A_SOURCE and not others.get(name)))


@dataclass(frozen=True)
class Facts:
    """All that the page shows of the store, for one choice."""

    over_time: Mapping[Metric, tuple[Point, ...]]
    all_sources: tuple[str, ...]
    sources: Sources
    stages: Mapping[str, Daily]
    topics: tuple[TopicCount, ...]
    mentions: MentionPage
    now: Days
    before: Days
    accuracy: tuple[Checked, ...] = ()
    spikes: tuple[Spike, ...] = ()
    """The newest ones of the brand: of #fails, and drops."""


async def gather_facts(
    store: Store, choice: Choice, period: Period, zone: ZoneInfo, cursor: Cursor | None
) -> Facts:
    """Return what the page shows. Raises DependencyUnavailable while ClickHouse does not answer."""
    filters = filters_of(choice, period.start, period.end)
    interval = period.interval(choice.per)

    async def points(metric: Metric) -> tuple[Point, ...]:
        (series,) = await store.timeseries(metric, interval, zone.key, filters)
        return series.points

    raised = SpikeFilters(filters.start, filters.end, filters.brands, SPIKE_KINDS)
    over_time, (all_sources, stages), topics, mentions, compared, (accuracy, spikes) = await asyncio.gather(
        asyncio.gather(*(points(metric) for metric in OVER_TIME)),
        asyncio.gather(
            _totals(store, replace(filters, sources=()), zone, Dimension.SOURCE),
            _totals(store, filters, zone, Dimension.STAGE),
        ),
        store.topics(filters, MAX_TOPICS),
        store.mentions(mention_filters(choice, filters), MAX_MENTIONS, cursor),
        _compare(store, filters, period, zone),
        asyncio.gather(
            store.accuracy(Filters(filters.start, filters.end, filters.brands, author_kinds=()), zone.key),
            store.spikes(raised, MAX_SPIKES),
        ),
    )
    sources, now, before = compared
    return Facts(
        over_time=dict(zip(OVER_TIME, over_time, strict=True)),
        all_sources=tuple(sorted(all_sources)),
        sources=sources,
        stages=stages,
        topics=tuple(topics),
        mentions=mentions,
        now=now,
        before=before,
        accuracy=tuple(accuracy),
        spikes=spikes.items,
    )


def mention_filters(choice: Choice, filters: Filters) -> Filters:
    """Return the filters of the list of mentions: those of the page, and only #fails or only questions."""
    return replace(filters, fails=choice.only == "fails", questions=choice.only == "questions")


async def _compare(
    store: Store, filters: Filters, period: Period, zone: ZoneInfo
) -> tuple[Sources, Days, Days]:
    """Return this period and the one before, day by day, over the sources that delivered in both."""
    nothing = Days((), (), ())
    if not period.comparable:
        return Sources({}, {}), nothing, nothing
    now = replace(filters, start=period.start, end=period.compared_until)
    before = replace(filters, start=period.before_start, end=period.before_until)
    totals, totals_before = await asyncio.gather(
        _totals(store, now, zone, Dimension.SOURCE), _totals(store, before, zone, Dimension.SOURCE)
    )
    sources = Sources(_mentions(totals), _mentions(totals_before))
    if (sources.stopped or sources.began) and not 0 < len(sources.compared) <= MAX_SOURCES_COMPARED:
        return sources, nothing, nothing
    alike = sources.compared or filters.sources
    days, days_before = await asyncio.gather(
        _days(store, replace(now, sources=alike), zone), _days(store, replace(before, sources=alike), zone)
    )
    return sources, days, days_before


def _mentions(totals: Mapping[str, Daily]) -> dict[str, int]:
    return {name: total.mentions for name, total in totals.items()}


async def _days(store: Store, filters: Filters, zone: ZoneInfo) -> Days:
    async def of(metric: Metric) -> tuple[Daily, ...]:
        (series,) = await store.timeseries(metric, Interval.DAY, zone.key, filters)
        return tuple(_daily(point) for point in series.points)

    return Days(*await asyncio.gather(of(Metric.FAILS), of(Metric.QUESTIONS), of(Metric.NEGATIVE)))


async def _totals(store: Store, filters: Filters, zone: ZoneInfo, dimension: Dimension) -> dict[str, Daily]:
    """Return the #fails and mentions of the whole period by `dimension`."""
    grouped = await store.timeseries(Metric.FAILS, Interval.MONTH, zone.key, filters, (dimension,))
    return {series.group[dimension.value]: _sum(series) for series in grouped}


def _sum(series: Series) -> Daily:
    days: Sequence[Daily] = [_daily(point) for point in series.points]
    return Daily(sum(day.hits for day in days), sum(day.mentions for day in days))


def _daily(point: Point) -> Daily:
    return Daily(int(point.value or 0), point.n)


def newest(moments: Sequence[datetime | None]) -> datetime | None:
    """Return the latest of `moments` that is known."""
    return max((moment for moment in moments if moment is not None), default=None)
