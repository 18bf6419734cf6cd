"""Polling feeds: what is published, what is remembered, and how long is waited."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from services.ingest.connectors import rss
from services.ingest.connectors.feed_document import Entry, FeedDocument
from services.ingest.connectors.rss import (
    FeedPoller,
    FeedState,
    Poll,
    PollOutcome,
    Watched,
    review,
    watch_list,
)
from services.ingest.fetch import Fetched, Fetcher, FetchError, FetchProblem
from shared.brands import Feed
from shared.clock import ManualClock
from shared.errors import DependencyUnavailable
from shared.events import Mention
from shared.metrics_catalogue import FEED_POLLS, REJECTED, SOURCE_ERRORS, SOURCE_LAST_SUCCESS
from tests.unit.metric_values import value_of

NOW = datetime(2026, 3, 29, 10, 0, tzinfo=UTC)
URL = "https://blog.example/feed"
FEED = Watched(Feed(url=URL), "Acme Zorg")


class Publisher:
    def __init__(self) -> None:
        self.mentions: list[Mention] = []
        self.down = False

    async def publish(self, mentions: Sequence[Mention], via: str) -> None:
        assert via == "feed"
        if self.down:
            raise DependencyUnavailable("Kafka", "down for the test")
        self.mentions += mentions

    def take(self) -> list[str]:
        texts = [mention.text for mention in self.mentions]
        self.mentions.clear()
        return texts


class Checkpoints:
    def __init__(self) -> None:
        self.values: dict[str, Mapping[str, Any]] = {}
        self.puts = 0
        self.down = False

    def get(self, key: str) -> Mapping[str, Any] | None:
        return self.values.get(key)

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        if self.down:
            raise DependencyUnavailable("Kafka", "down for the test")
        self.values[key] = value
        self.puts += 1


class Server(Fetcher):
    """Answers what it is told to, and remembers the headers that it was asked with."""

    def __init__(self) -> None:
        self.answer: Fetched | Exception = Fetched(404)
        self.asked: list[dict[str, str]] = []

    async def fetch(self, url: str, headers: Mapping[str, str], *, allow_private: bool) -> Fetched:
        self.asked.append(dict(headers))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class World:
    publisher: Publisher = field(default_factory=Publisher)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    server: Server = field(default_factory=Server)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    slept: list[float] = field(default_factory=list)
    naps: int = 1_000

    def poller(self, jitter: float = 0.0) -> FeedPoller:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            if len(self.slept) >= self.naps:
                raise asyncio.CancelledError

        return FeedPoller(
            [(FEED.brand, FEED.feed)],
            self.publisher,
            self.checkpoints,
            self.clock,
            fetcher=self.server,
            sleep=sleep,
            jitter=lambda: jitter,
        )

    async def poll(self, watched: Watched = FEED) -> Poll:
        return await self.poller().poll(watched)

    def serve(self, *items: str, **headers: str) -> None:
        self.server.answer = ok(*items, **headers)


@pytest.fixture
def world() -> World:
    return World()


def item(guid: str, title: str, extra: str = "<pubDate>Sun, 29 Mar 2026 08:00:00 GMT</pubDate>") -> str:
    return f'<item><guid isPermaLink="false">{guid}</guid><title>{title}</title>{extra}</item>'


def ok(*items: str, **headers: str) -> Fetched:
    body = f"<rss version='2.0'><channel><language>nl</language>{''.join(items)}</channel></rss>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fetched(200, MappingProxyType({"content-type": "application/rss+xml", **named}), body.encode())


async def test_an_entry_becomes_a_mention(world: World) -> None:
    world.serve(item("1", "Geen antwoord na drie weken"))

    assert await world.poll() == Poll(PollOutcome.PUBLISHED)

    (mention,) = world.publisher.mentions
    assert (mention.source, mention.external_id, mention.brand) == ("blog.example", "1", "Acme Zorg")
    assert (mention.text, mention.language_hint) == ("Geen antwoord na drie weken", "nl")
    assert mention.published_at == datetime(2026, 3, 29, 8, tzinfo=UTC)
    assert mention.metadata == {"feed": URL}


async def test_what_was_published_is_not_published_again(world: World) -> None:
    world.serve(item("1", "een"), item("2", "twee"))
    await world.poll()
    world.publisher.take()
    world.serve(item("3", "drie"), item("1", "een"), item("2", "twee"))

    await world.poll()

    assert world.publisher.take() == ["drie"]
    assert await world.poll() == Poll(PollOutcome.UNCHANGED)
    assert world.publisher.take() == []


async def test_an_edited_entry_is_published_once_more_under_the_same_id(world: World) -> None:
    world.serve(item("1", "een"), item("2", "twee"))
    await world.poll()
    before = {mention.external_id: mention.id for mention in world.publisher.mentions}
    world.publisher.take()
    world.serve(item("1", "een, en meer"), item("2", "twee"))

    await world.poll()
    await world.poll()

    (edited,) = world.publisher.mentions
    assert edited.text == "een, en meer"
    assert edited.id == before["1"]


async def test_the_next_get_is_conditional(world: World) -> None:
    world.serve(item("1", "een"), etag='W/"7"', last_modified="Sun, 29 Mar 2026 08:00:00 GMT")
    await world.poll()
    world.server.answer = Fetched(304)

    assert await world.poll() == Poll(PollOutcome.UNCHANGED)

    first, second = world.server.asked
    assert not {"if-none-match", "if-modified-since"} & first.keys()
    assert second["if-none-match"] == 'W/"7"'
    assert second["if-modified-since"] == "Sun, 29 Mar 2026 08:00:00 GMT"


async def test_a_header_that_cannot_be_sent_back_is_forgotten(world: World) -> None:
    world.serve(item("1", "een"), etag='"é"', last_modified="x" * 2_000)

    await world.poll()
    await world.poll()

    assert not {"if-none-match", "if-modified-since"} & world.server.asked[1].keys()


async def test_another_brand_for_a_feed_brings_its_entries_again(world: World) -> None:
    world.serve(item("1", "een"), etag='"7"')
    await world.poll()
    world.publisher.take()

    await world.poll(Watched(FEED.feed, "Beta Bouw"))

    assert [mention.brand for mention in world.publisher.mentions] == ["Beta Bouw"]
    assert "if-none-match" not in world.server.asked[1]


async def test_an_entry_without_date_keeps_the_time_of_first_sight(world: World) -> None:
    world.serve(item("1", "een", extra=""))
    await world.poll()
    world.clock.advance(3_600)
    world.serve(item("1", "een, anders", extra=""))
    await world.poll()

    assert [mention.published_at for mention in world.publisher.mentions] == [NOW, NOW]


@pytest.mark.parametrize(
    "date", ["Thu, 01 Jan 1970 00:00:00 GMT", "Tue, 31 Mar 2026 10:00:01 GMT", "gisteren"]
)
async def test_a_date_that_cannot_be_is_the_time_of_first_sight(world: World, date: str) -> None:
    world.serve(item("1", "een", extra=f"<pubDate>{date}</pubDate>"))

    await world.poll()

    assert [mention.published_at for mention in world.publisher.mentions] == [NOW]


async def test_nothing_is_remembered_of_what_kafka_did_not_acknowledge(world: World) -> None:
    world.serve(item("1", "een"), etag='"7"')
    world.publisher.down = True

    assert (await world.poll()).outcome is PollOutcome.NOT_PUBLISHED
    assert world.checkpoints.values == {}

    world.publisher.down = False
    await world.poll()
    assert "if-none-match" not in world.server.asked[1]
    assert world.publisher.take() == ["een"]


async def test_what_could_not_be_remembered_is_published_again(world: World) -> None:
    world.serve(item("1", "een"))
    world.checkpoints.down = True
    assert (await world.poll()).outcome is PollOutcome.NOT_PUBLISHED
    world.checkpoints.down = False

    await world.poll()

    assert world.publisher.take() == ["een", "een"]


async def test_an_unchanged_feed_writes_no_checkpoint(world: World) -> None:
    world.serve(item("1", "een"))

    await world.poll()
    await world.poll()

    assert world.checkpoints.puts == 1


async def test_a_checkpoint_that_cannot_be_read_is_begun_anew(world: World) -> None:
    world.checkpoints.values[FEED.key] = {"seen": "?"}
    world.serve(item("1", "een"))

    await world.poll()

    assert world.publisher.take() == ["een"]
    assert list(FeedState.model_validate(world.checkpoints.values[FEED.key]).seen)


async def test_an_entry_that_breaks_a_rule_is_counted_once_and_blocks_nothing(world: World) -> None:
    before = value_of(REJECTED, "feed", "invalid")
    errors_before = value_of(SOURCE_ERRORS, "blog.example", "invalid")
    world.serve(item("1", ""), item("2", "twee"))

    await world.poll()
    await world.poll()

    assert world.publisher.take() == ["twee"]
    assert value_of(REJECTED, "feed", "invalid") == before + 1
    assert value_of(SOURCE_ERRORS, "blog.example", "invalid") == errors_before + 1

    world.serve(item("1", "toch tekst"), item("2", "twee"))
    await world.poll()
    assert world.publisher.take() == ["toch tekst"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Fetched(404), PollOutcome.HTTP_ERROR),
        (Fetched(500), PollOutcome.HTTP_ERROR),
        (Fetched(410), PollOutcome.GONE),
        (Fetched(200, body=b"<!DOCTYPE html><html><p>Sorry</p></html>"), PollOutcome.NOT_A_FEED),
        (Fetched(200, body=b""), PollOutcome.NOT_A_FEED),
        (FetchError(FetchProblem.ADDRESS_REFUSED, "inside"), PollOutcome.ADDRESS_REFUSED),
        (FetchError(FetchProblem.UNREACHABLE, "away"), PollOutcome.UNREACHABLE),
        (FetchError(FetchProblem.TOO_LARGE, "huge"), PollOutcome.TOO_LARGE),
        (FetchError(FetchProblem.BAD_RESPONSE, "odd"), PollOutcome.BAD_RESPONSE),
    ],
)
async def test_what_goes_wrong_is_an_outcome(
    world: World, answer: Fetched | Exception, outcome: PollOutcome
) -> None:
    world.server.answer = answer

    assert await world.poll() == Poll(outcome)
    assert (world.publisher.mentions, world.checkpoints.values) == ([], {})


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(world: World, status: int) -> None:
    world.server.answer = Fetched(status, MappingProxyType({"retry-after": "4000"}))
    world.naps = 1

    with pytest.raises(asyncio.CancelledError):
        await world.poller().watch(FEED)

    assert world.slept == [4_000]


async def test_failures_are_waited_out_longer_and_longer_until_one_goes_well(world: World) -> None:
    world.naps = 9
    with pytest.raises(asyncio.CancelledError):
        await world.poller().watch(FEED)

    assert world.slept == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]

    world.slept.clear()
    world.naps = 1
    world.serve(item("1", "een"))
    with pytest.raises(asyncio.CancelledError):
        await world.poller(jitter=0.5).watch(FEED)
    assert world.slept == [pytest.approx(300)]
    assert value_of(SOURCE_LAST_SUCCESS, "blog.example") == world.clock.now().timestamp()


async def test_a_feed_that_is_gone_is_polled_no_more_and_run_goes_on(world: World) -> None:
    world.server.answer = Fetched(410)
    before = value_of(FEED_POLLS, "blog.example", "gone")
    errors_before = value_of(SOURCE_ERRORS, "blog.example", "gone")

    running = asyncio.create_task(world.poller().run())
    async with asyncio.timeout(5):
        while value_of(FEED_POLLS, "blog.example", "gone") == before:
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)

    assert value_of(SOURCE_ERRORS, "blog.example", "gone") == errors_before + 1
    assert len(world.server.asked) == 1
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_only_so_many_entries_are_remembered_and_those_of_the_document_always() -> None:
    seen = {f"old{n}": ("x", 1) for n in range(rss.MAX_SEEN)}
    document = FeedDocument(tuple(Entry(str(n), f"tekst {n}") for n in range(500)))

    found = review(document, FEED, seen, NOW)

    assert len(found.seen) == rss.MAX_SEEN
    assert len(found.mentions) == 500
    assert set(found.seen) - set(seen) == set(list(found.seen)[-500:])
    assert "old500" in found.seen
    assert "old499" not in found.seen
    assert review(document, FEED, found.seen, NOW + timedelta(hours=1)).mentions == ()


def test_a_feed_of_two_brands_is_polled_once_and_matched_by_terms() -> None:
    shared = Feed(url="https://news.example/rss")

    assert watch_list([("Acme Zorg", shared), ("Beta Bouw", shared), (None, FEED.feed)]) == (
        Watched(shared, None),
        Watched(FEED.feed, None),
    )


@pytest.mark.parametrize(
    ("configured", "said", "hint"),
    [
        ("nl", "en-US", "nl"),
        (None, "en-US", "en"),
        (None, "zh_Hans", "zh"),
        (None, "?", None),
        (None, None, None),
    ],
)
def test_the_language_is_the_configured_one_before_the_feeds(
    configured: str | None, said: str | None, hint: str | None
) -> None:
    watched = Watched(Feed(url=URL, language=configured), None)

    (mention,) = review(FeedDocument((Entry("1", "x"),), said), watched, {}, NOW).mentions

    assert mention.language_hint == hint
