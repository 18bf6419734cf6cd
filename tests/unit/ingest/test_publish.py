"""The Publisher against a producer in memory: acknowledgements, outages, limits and replacement."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
)

from services.ingest import publish
from services.ingest.budget import Budget, Overloaded
from services.ingest.publish import Publisher
from shared.clock import ManualClock
from shared.errors import DependencyUnavailable
from shared.events import Mention, RawMention, parse_mention
from shared.metrics_catalogue import SOURCE_ITEMS, SOURCE_LAST_SUCCESS, Bounded
from shared.settings import Settings
from tests.unit.metric_values import value_of

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEADLINE = 5.0


class Kafka:
    """What the fake producers share: whether Kafka is there, and what it got."""

    def __init__(self) -> None:
        self.away = False
        self.topics = {"mentions.raw"}
        self.silent = False
        self.send_error: Exception | None = None
        self.batch_error: Exception | None = None
        self.got: list[tuple[str, bytes, bytes]] = []
        self.open: list[asyncio.Future[None]] = []
        self.producers: list[FakeProducer] = []

    def new_producer(self, _settings: Settings) -> "FakeProducer":
        self.producers.append(FakeProducer(self))
        return self.producers[-1]

    def acknowledge(self) -> None:
        for future in self.open:
            future.set_result(None)
        self.open.clear()


class FakeProducer:
    """Behaves as aiokafka's, as far as the Publisher can tell."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.client = self
        self.stopped = False

    async def start(self) -> None:
        if self.kafka.away:
            raise KafkaConnectionError("nobody there")

    async def stop(self) -> None:
        self.stopped = True
        if self.kafka.open:
            await asyncio.wait(self.kafka.open)

    async def close(self) -> None:
        self.stopped = True

    async def fetch_all_metadata(self) -> "FakeProducer":
        if self.kafka.away:
            raise KafkaConnectionError("nobody there")
        return self

    def topics(self) -> set[str]:
        return self.kafka.topics

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: object = ()
    ) -> "asyncio.Future[None]":
        assert headers == []
        if self.kafka.send_error is not None:
            raise self.kafka.send_error
        self.kafka.got.append((topic, key, value))
        future = asyncio.get_running_loop().create_future()
        if self.kafka.batch_error is not None:
            future.set_exception(self.kafka.batch_error)
        elif self.kafka.silent:
            self.kafka.open.append(future)
        else:
            future.set_result(None)
        return future

    @property
    def _sender(self) -> "FakeProducer":
        return self


def mentions(count: int, **fields: Any) -> list[Mention]:
    common = {"source": "test", "published_at": "2026-11-20T10:00:00Z"} | fields
    return [parse_mention(common | {"text": f"text {n}", "external_id": f"m{n}"}, NOW) for n in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def budget() -> Budget:
    return Budget(10_000)


@pytest.fixture
async def publisher(kafka: Kafka, budget: Budget) -> AsyncIterator[Publisher]:
    settings = Settings(ingest_produce_timeout_seconds=0.2)
    made = Publisher(settings, ManualClock(NOW), budget, kafka.new_producer)
    await made.start()
    yield made
    kafka.acknowledge()
    await made.stop()
    assert all(producer.stopped for producer in kafka.producers)


async def connected(publisher: Publisher) -> None:
    async with asyncio.timeout(DEADLINE):
        while await publisher.waiting_for():
            await asyncio.sleep(0.001)


async def test_events_have_the_key_the_id_and_a_time_of_their_own(kafka: Kafka, publisher: Publisher) -> None:
    await connected(publisher)
    one, two = mentions(1, conversation_id="thread")[0], mentions(2)[1]
    await publisher.publish([one, two], "http")
    (topic, first_key, first), (_, second_key, second) = kafka.got
    assert (topic, first_key, second_key) == ("mentions.raw", b"thread", str(two.id).encode())
    assert RawMention.model_validate_json(first) == RawMention.of(one, NOW)
    assert json.loads(second)["received_at"] == "2026-11-20T12:00:00.000001Z"


async def test_nothing_to_publish_asks_nothing_of_kafka(kafka: Kafka, publisher: Publisher) -> None:
    kafka.away = True
    await publisher.publish([], "http")
    assert kafka.got == []


async def test_it_returns_only_after_the_acknowledgement(
    kafka: Kafka, publisher: Publisher, budget: Budget
) -> None:
    await connected(publisher)
    kafka.silent = True
    publishing = asyncio.create_task(publisher.publish(mentions(3), "http"))
    await until(lambda: len(kafka.open) == 3)
    assert not publishing.done()
    assert budget.used > 0
    kafka.acknowledge()
    await publishing
    await until(lambda: budget.used == 0)


async def test_without_an_acknowledgement_it_says_so_and_still_holds_the_bytes(
    kafka: Kafka, publisher: Publisher, budget: Budget
) -> None:
    await connected(publisher)
    kafka.silent = True
    with pytest.raises(DependencyUnavailable, match="nothing acknowledged in 0.2 s"):
        await publisher.publish(mentions(3), "http")
    held = budget.used
    assert held == sum(len(key) + len(value) for _, key, value in kafka.got)
    assert not any(future.cancelled() for future in kafka.open)
    kafka.acknowledge()
    await until(lambda: budget.used == 0)
    assert await publisher.waiting_for() == {}


async def test_more_than_may_be_held_is_refused_at_once(
    kafka: Kafka, publisher: Publisher, budget: Budget
) -> None:
    await connected(publisher)
    with pytest.raises(Overloaded, match="10,000 bytes"):
        await publisher.publish(mentions(100), "http")
    assert (kafka.got, budget.used) == ([], 0)


async def test_while_kafka_is_away_it_says_so_and_connects_when_it_is_back(
    kafka: Kafka, budget: Budget
) -> None:
    kafka.away = True
    publisher = Publisher(Settings(), ManualClock(NOW), budget, kafka.new_producer)
    await publisher.start()
    await until(lambda: len(kafka.producers) == 1 and kafka.producers[0].stopped)
    assert await publisher.waiting_for() == {"kafka": "not connected to 127.0.0.1:9092"}
    with pytest.raises(DependencyUnavailable, match="not connected"):
        await publisher.publish(mentions(1), "http")
    kafka.away = False
    await connected(publisher)
    await publisher.publish(mentions(1), "http")
    kafka.away = True
    assert "kafka" in await publisher.waiting_for()
    kafka.away = False
    assert await publisher.waiting_for() == {}
    kafka.topics = set()
    assert "klankbord topics" in (await publisher.waiting_for())["kafka"]
    await publisher.stop()


@pytest.mark.parametrize("where", ["send", "batch"])
@pytest.mark.parametrize("error", [OutOfOrderSequenceNumber(), ProducerClosed()])
async def test_a_producer_that_cannot_go_on_is_replaced(
    kafka: Kafka, publisher: Publisher, budget: Budget, where: str, error: Exception
) -> None:
    await connected(publisher)
    setattr(kafka, f"{where}_error", error)
    with pytest.raises(DependencyUnavailable):
        await publisher.publish(mentions(2), "http")
    kafka.send_error = kafka.batch_error = None
    await until(lambda: kafka.producers[0].stopped and len(kafka.producers) == 2)
    await connected(publisher)
    kafka.got.clear()
    await publisher.publish(mentions(2), "http")
    assert len(kafka.got) == 2
    await until(lambda: budget.used == 0)


async def test_an_outage_does_not_replace_the_producer(kafka: Kafka, publisher: Publisher) -> None:
    await connected(publisher)
    kafka.send_error = KafkaTimeoutError()
    with pytest.raises(DependencyUnavailable):
        await publisher.publish(mentions(1), "http")
    kafka.send_error = None
    await publisher.publish(mentions(1), "http")
    assert len(kafka.producers) == 1


async def test_stop_hands_over_what_was_taken(kafka: Kafka, publisher: Publisher) -> None:
    await connected(publisher)
    kafka.silent = True
    publishing = asyncio.create_task(publisher.publish(mentions(2), "http"))
    await until(lambda: len(kafka.open) == 2)
    stopping = asyncio.create_task(publisher.stop())
    await until(lambda: kafka.producers[0].stopped)
    kafka.acknowledge()
    await asyncio.gather(publishing, stopping)


async def test_stop_does_not_wait_for_ever(
    kafka: Kafka, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "FLUSH_SECONDS", 0.02)
    await connected(publisher)
    kafka.silent = True
    with pytest.raises(DependencyUnavailable):
        await publisher.publish(mentions(1), "http")
    async with asyncio.timeout(DEADLINE):
        await publisher.stop()
    with pytest.raises(DependencyUnavailable, match="not connected"):
        await publisher.publish(mentions(1), "http")


async def test_acknowledged_mentions_are_counted_by_source(kafka: Kafka, budget: Budget) -> None:
    label = Bounded(["jobboard"])
    publisher = Publisher(Settings(), ManualClock(NOW), budget, kafka.new_producer, label)
    await publisher.start()
    await until(lambda: publisher._producer is not None)
    before = value_of(SOURCE_ITEMS, "jobboard"), value_of(SOURCE_ITEMS, "other")

    await publisher.publish(mentions(2, source="jobboard") + mentions(1, source="unheard of"), "http")
    await publisher.stop()

    assert value_of(SOURCE_ITEMS, "jobboard") == before[0] + 2
    assert value_of(SOURCE_ITEMS, "other") == before[1] + 1
    assert value_of(SOURCE_LAST_SUCCESS, "jobboard") == NOW.timestamp()
