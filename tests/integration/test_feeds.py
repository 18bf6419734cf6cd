"""A feed on a real HTTP server, checkpoints on a real Kafka: restarts, edits, and what arrives exactly."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import uuid4

import pytest
import uvicorn
from aiokafka import AIOKafkaConsumer, TopicPartition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.ingest.budget import Budget
from services.ingest.checkpoints import MAX_CHECKPOINT_BYTES, CheckpointStore
from services.ingest.connectors.rss import FeedPoller, PollOutcome, Watched
from services.ingest.fetch import Fetcher, FetchError, FetchProblem
from services.ingest.publish import Publisher
from shared.brands import Feed
from shared.clock import SystemClock
from shared.errors import DependencyUnavailable
from shared.events import RawMention
from shared.kafka import new_consumer
from shared.settings import Settings
from shared.telemetry import QuietServer, listen
from shared.topics import Topic

pytestmark = pytest.mark.io
SECONDS = 30.0


@dataclass
class FeedServer:
    """A blog's server: a feed with an ETag, gzipped, behind a redirect."""

    url: str = ""
    entries: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)

    async def feed(self, request: Request) -> Response:
        items = "".join(
            f'<item><guid isPermaLink="false">{guid}</guid><title>{text}</title></item>'
            for guid, text in self.entries.items()
        )
        body = f"<rss version='2.0'><channel>{items}</channel></rss>".encode()
        etag = f'"{sha256(body).hexdigest()}"'
        response = Response(status_code=304)
        if request.headers.get("if-none-match") != etag:
            headers = {"content-encoding": "gzip", "etag": etag}
            response = Response(gzip.compress(body), media_type="application/rss+xml", headers=headers)
        self.statuses.append(response.status_code)
        return response


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """Serve `app` on a free port of this machine; yield its address."""
    server = QuietServer(uvicorn.Config(app, log_config=None, lifespan="off"))
    with listen("127.0.0.1", 0) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@pytest.fixture
async def blog() -> AsyncIterator[FeedServer]:
    blog = FeedServer()

    async def moved(_request: Request) -> Response:
        return RedirectResponse("/feed.xml", status_code=301)

    app = Starlette(routes=[Route("/feed.xml", blog.feed), Route("/moved", moved)])
    async with serving(app) as url:
        blog.url = f"{url}/moved"
        yield blog


@pytest.fixture
async def publisher(kafka_settings: Settings) -> AsyncIterator[Publisher]:
    publisher = Publisher(kafka_settings, SystemClock(), Budget(kafka_settings.ingest_max_inflight_bytes))
    await publisher.start()
    try:
        async with asyncio.timeout(SECONDS):
            while await publisher.waiting_for():
                await asyncio.sleep(0.02)
        yield publisher
    finally:
        await publisher.stop()


@asynccontextmanager
async def checkpoints(settings: Settings) -> AsyncIterator[CheckpointStore]:
    """Yield a store as a service that has just started has it."""
    store = CheckpointStore(settings)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


@asynccontextmanager
async def new_raw_mentions(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer of mentions.raw that stands at its end."""
    consumer = new_consumer(settings=settings, group_id=None)
    await consumer.start()
    try:
        partitions = [TopicPartition(Topic.RAW.value, n) for n in range(settings.kafka_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        yield consumer
    finally:
        await consumer.stop()


async def take(consumer: AIOKafkaConsumer, source: str) -> list[RawMention]:
    """Return the mentions of `source` up to what is now the end of mentions.raw."""
    found: list[RawMention] = []
    ends = await consumer.end_offsets(consumer.assignment())
    async with asyncio.timeout(SECONDS):
        while [p for p in ends if await consumer.position(p) < ends[p]]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [RawMention.model_validate_json(record.value) for record in records]
    return sorted((one for one in found if one.source == source), key=lambda one: one.external_id or "")


def watched(blog: FeedServer) -> Watched:
    return Watched(Feed(url=blog.url, source=f"blog-{uuid4()}", allow_private_addresses=True), "Acme Zorg")


async def poll_once(settings: Settings, publisher: Publisher, one: Watched) -> PollOutcome:
    """Poll as a service does that was started just now, with nothing in its memory."""
    async with checkpoints(settings) as store:
        poller = FeedPoller([(one.brand, one.feed)], publisher, store, SystemClock())
        return (await poller.poll(one)).outcome


async def test_over_restarts_no_entry_comes_twice_and_an_edited_one_once_more(
    kafka_settings: Settings, publisher: Publisher, blog: FeedServer
) -> None:
    one = watched(blog)
    source = one.feed.source_name
    blog.entries = {"1": "eerste", "2": "tweede"}
    async with new_raw_mentions(kafka_settings) as raw:
        assert await poll_once(kafka_settings, publisher, one) is PollOutcome.PUBLISHED
        first = await take(raw, source)
        assert [(m.external_id, m.text, m.brand) for m in first] == [
            ("1", "eerste", "Acme Zorg"),
            ("2", "tweede", "Acme Zorg"),
        ]

        assert await poll_once(kafka_settings, publisher, one) is PollOutcome.UNCHANGED
        assert blog.statuses == [200, 304]
        assert await take(raw, source) == []

        blog.entries = {"3": "derde", "1": "eerste", "2": "tweede, aangevuld"}
        assert await poll_once(kafka_settings, publisher, one) is PollOutcome.PUBLISHED
        second = await take(raw, source)

    assert [(m.external_id, m.text) for m in second] == [("2", "tweede, aangevuld"), ("3", "derde")]
    assert second[0].id == first[1].id
    # Without a date of its own an entry keeps the time of first sight, over edits and restarts.
    assert second[0].published_at == first[1].published_at
    assert blog.statuses == [200, 304, 200]


async def test_the_poller_runs_by_itself_until_it_is_cancelled(
    kafka_settings: Settings, publisher: Publisher, blog: FeedServer
) -> None:
    one = watched(blog)
    blog.entries = {"1": "eerste"}
    polled = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        polled.set()
        await asyncio.Event().wait()

    async with new_raw_mentions(kafka_settings) as raw, checkpoints(kafka_settings) as store:
        poller = FeedPoller([(one.brand, one.feed)], publisher, store, SystemClock(), sleep=sleep)
        running = asyncio.create_task(poller.run())
        async with asyncio.timeout(SECONDS):
            await polled.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [m.text for m in await take(raw, one.feed.source_name)] == ["eerste"]


async def test_an_address_of_this_machine_is_not_fetched_unless_that_was_configured(blog: FeedServer) -> None:
    with pytest.raises(FetchError) as caught:
        await Fetcher().fetch(blog.url, {}, allow_private=False)

    assert caught.value.kind is FetchProblem.ADDRESS_REFUSED
    assert blog.statuses == []
    assert (await Fetcher().fetch(blog.url, {}, allow_private=True)).status == 200


async def test_a_server_that_trickles_is_given_up(blog: FeedServer) -> None:
    async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchError, match=r"longer than 0\.3 s") as caught:
            await Fetcher(total_seconds=0.3).fetch(f"http://127.0.0.1:{port}/", {}, allow_private=True)

    assert caught.value.kind is FetchProblem.UNREACHABLE


async def test_a_checkpoint_is_there_after_a_restart_and_the_last_one_counts(
    kafka_settings: Settings,
) -> None:
    key, other = f"test:{uuid4()}", f"test:{uuid4()}"
    async with checkpoints(kafka_settings) as store:
        assert store.get(key) is None
        await store.put(key, {"n": 1})
        await store.put(other, {"text": "é"})
        await store.put(key, {"n": 2, "deep": {"a": [1]}})
        assert store.get(key) == {"n": 2, "deep": {"a": [1]}}

    async with checkpoints(kafka_settings) as store:
        assert store.get(key) == {"n": 2, "deep": {"a": [1]}}
        assert store.get(other) == {"text": "é"}


async def test_a_checkpoint_that_is_too_large_is_not_written(kafka_settings: Settings) -> None:
    key = f"test:{uuid4()}"
    async with checkpoints(kafka_settings) as store:
        with pytest.raises(ValueError, match=key):
            await store.put(key, {"x": "y" * MAX_CHECKPOINT_BYTES})
        assert store.get(key) is None


async def test_without_its_topic_a_store_says_so(kafka_settings: Settings) -> None:
    with pytest.raises(DependencyUnavailable, match="klankbord topics"):
        await CheckpointStore(kafka_settings, topic="nowhere").start()


async def test_without_kafka_a_store_says_so(kafka_settings: Settings) -> None:
    away = kafka_settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    store = CheckpointStore(away)

    with pytest.raises(DependencyUnavailable):
        await store.start()
    with pytest.raises(DependencyUnavailable):
        await store.put("a", {})
    assert store.get("a") is None
    await store.stop()
