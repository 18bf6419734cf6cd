"""A burst of complaints on the real Kafka and engine: kept, published, shown, and told with its reason."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest

from services.api.app import create_app
from services.api.queries import Store
from services.metrics.backtest import Found, Period, backtest, line, run_backtest
from services.metrics.migrate import migrate
from services.metrics.positions import Hour
from services.metrics.spike_store import SpikeStore
from services.metrics.store import ClickHouseStore
from services.metrics.watch import Watch
from services.metrics.writer import write
from shared.brands import parse_brands
from shared.clock import ManualClock
from shared.errors import ConfigError
from shared.kafka import new_consumer
from shared.metrics_catalogue import DISK_FREE_BYTES, DISK_TOTAL_BYTES, SOURCE_SILENT, SPIKES_ACTIVE
from shared.settings import Settings
from shared.spike_events import Severity, Spike, SpikeKind
from shared.topics import Topic
from tests.receiver import receiver
from tests.unit.metric_values import value_of
from tests.unit.metrics.events import event, message

pytestmark = pytest.mark.io
NOW = datetime(2026, 9, 28, 12, 30, tzinfo=UTC)
"""A Monday, half past two in Amsterdam."""


@pytest.fixture
def settings(store_settings: Settings) -> Settings:
    """Return settings for a database of its own."""
    own = store_settings.model_copy(update={"clickhouse_database": f"spikes_{uuid4().hex[:8]}"})
    migrate(own)
    return own


def mention(brand: str, at: datetime, who: str, number: int, **labels: Any) -> bytes:
    return message(
        f"{brand} {who} {number}",
        brand=brand,
        published_at=at.isoformat(),
        author={"name": who},
        topics=["response time"],
        url=f"https://example.org/{number}",
        **labels,
    )


def history(brand: str) -> Iterator[bytes]:
    """Eight weeks in which every day six people say something, of whom one complains."""
    for day in range(1, 57):
        for number in range(6):
            at = NOW - timedelta(days=day) + timedelta(hours=number)
            yield mention(brand, at, f"p{day} {number}", number, is_fail=number == 0)


def burst(brand: str, people: int) -> Iterator[bytes]:
    for number in range(people):
        yield mention(brand, NOW - timedelta(seconds=number), f"new {number}", number)


def store(settings: Settings, *messages: bytes) -> None:
    sink = ClickHouseStore.open(settings)
    written = write([event(one) for one in messages], sink)
    sink.recount({Hour(hour.brand, hour.start_ms) for hour in written.hours})
    sink.close()


async def published(settings: Settings, brand: str) -> list[Spike]:
    """Return what stands on the topic about a brand."""
    consumer = new_consumer(Topic.SPIKES, settings=settings, group_id=None)
    await consumer.start()
    try:
        (partition,) = consumer.assignment()
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[Spike] = []
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                found += [Spike.model_validate_json(record.value) for record in records]
        return [spike for spike in found if spike.brand == brand]
    finally:
        await consumer.stop()


@asynccontextmanager
async def watch(settings: Settings, clock: ManualClock) -> AsyncIterator[Watch]:
    one = Watch(settings, ["Acme Zorg"], partial(list, [0]), clock=clock)
    try:
        yield one
    finally:
        await one.close()


async def test_a_burst_is_kept_published_shown_and_told_once_and_ends(settings: Settings) -> None:
    brand, quiet = "Acme Zorg", "Stil"
    store(settings, *history(brand), *history(quiet), *burst(brand, 30), *burst(quiet, 1))
    clock = ManualClock(NOW)
    async with (
        receiver("/api/v2/alerts") as (url, posts),
        watch(settings.model_copy(update={"alertmanager_url": url}), clock) as one,
        watch(settings, clock) as another,
    ):
        await one.look()
        (spike,) = await published(settings, brand)
        assert (spike.kind, spike.stage, spike.topics) == (SpikeKind.SPIKE, "silence", ("response time",))
        assert spike.distinct_authors == 30
        assert spike.ratio > 10
        assert await published(settings, quiet) == []
        assert 0 < value_of(DISK_FREE_BYTES, "default") <= value_of(DISK_TOTAL_BYTES, "default")
        active = value_of(SPIKES_ACTIVE, brand, "spike", "critical")
        assert active == 1
        ((alert,),) = posts
        assert alert["labels"]["brand"] == brand
        assert {"silence", "response time"} <= {alert["annotations"][name] for name in ("stage", "topics")}
        assert alert["annotations"]["description"].count("https://example.org/") == 3

        clock.advance(20)
        await one.look()
        assert len(await published(settings, brand)) == 1

        # Another worker takes over: it tells again what is on, under the same id.
        clock.advance(20)
        await another.look()
        assert {each.id for each in await published(settings, brand)} == {spike.id}

        clock.advance(26 * 3_600)
        await another.look()
        last = (await published(settings, brand))[-1]
        assert (last.id, last.ended_at) == (spike.id, clock.now())


async def test_the_api_gives_what_was_on_newest_first_a_page_at_a_time(settings: Settings) -> None:
    brands = [f"Merk {number}" for number in range(3)]
    spike = Spike(
        id=uuid4(),
        kind=SpikeKind.SPIKE,
        severity=Severity.WARNING,
        brand="",
        observed=9,
        expected=1,
        distinct_authors=9,
        p_value=0,
        q_value=0,
        window_from=NOW,
        window_to=NOW,
        raised_at=NOW,
    )
    spikes = [
        spike.model_copy(update={"id": uuid4(), "brand": brand, "raised_at": NOW + timedelta(hours=number)})
        for number, brand in enumerate(brands)
    ]
    over = spikes[0].model_copy(update={"ended_at": NOW + timedelta(hours=1)})
    kept = SpikeStore.open(settings)
    kept.save(spikes, NOW)
    for _ in range(2):
        kept.save([over], NOW + timedelta(hours=1))
    kept.close()
    app = create_app(settings, Store(settings, parse_brands('[[brands]]\nname = "Merk 0"')), ManualClock(NOW))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client,
    ):

        async def names(query: str) -> list[str]:
            return [one["brand"] for one in (await client.get(f"/v1/spikes?{query}")).json()["spikes"]]

        assert await names("") == brands[::-1]
        assert await names("active=true") == brands[:0:-1]
        assert await names("brand=Merk 1&severity=warning") == brands[1:2]
        assert await names("severity=critical") == []
        assert await names("kind=drop") == []
        assert await names("to=2026-09-28T13:00:00Z") == brands[:1]
        assert await names("from=2026-09-28T15:00:00Z") == brands[:0:-1]
        first = await client.get("/v1/spikes?limit=2")
        rest = await client.get(first.links["next"]["url"])
        assert [one["brand"] for one in (*first.json()["spikes"], *rest.json()["spikes"])] == brands[::-1]
        assert rest.json()["next_cursor"] is None
        assert rest.json()["spikes"][0]["state"] == "ended"


async def test_a_dead_source_is_called_silent_and_no_drop(settings: Settings) -> None:
    brand = f"Dood {uuid4().hex[:6]}"
    lines = [
        mention(brand, NOW - timedelta(hours=hour), f"p{hour} {number}", number, is_fail=number == 0)
        for hour in range(60, 8 * 168)
        for number in range(3)
    ]
    store(settings, *lines)
    clock = ManualClock(NOW)
    async with watch(settings, clock) as one:
        await one.look()
    assert await published(settings, brand) == []
    assert value_of(SOURCE_SILENT, "linkedin") == 1


async def test_a_backtest_finds_the_burst_where_it_was_and_nothing_before(settings: Settings) -> None:
    brand = "Acme Zorg"
    store(settings, *history(brand), *burst(brand, 30))
    kept = SpikeStore.open(settings)
    zone = ZoneInfo("Europe/Amsterdam")

    def found(start: datetime, end: datetime) -> Found:
        return backtest(kept, Period(start, end, timedelta(minutes=30)), zone, brand)

    quiet = found(NOW - timedelta(hours=8), NOW - timedelta(hours=1))
    assert (quiet.spikes, quiet.brands) == ((), frozenset({brand}))
    loud = found(NOW - timedelta(hours=2), NOW + timedelta(hours=1))
    (spike,) = loud.spikes
    assert (spike.brand, spike.stage, spike.distinct_authors) == (brand, "silence", 30)
    assert found(NOW - timedelta(hours=2), NOW + timedelta(hours=1)).spikes == loud.spikes
    said: list[str] = []
    early = Period(NOW - timedelta(weeks=8), NOW - timedelta(weeks=8, hours=-2), timedelta(hours=1))
    run_backtest(settings, early, None, said.append)
    assert "Too little history" in said[-1]
    assert "30 people" in line(spike, zone)
    with pytest.raises(ConfigError, match="looks; at most"):
        found(NOW - timedelta(weeks=520), NOW)
    kept.close()
