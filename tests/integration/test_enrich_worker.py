"""Real workers on a real Kafka: killed, stopped, rebalanced, fed with poison. Nothing may get lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from deploy.local.ports import any_free
from shared.events import RawMention, parse_mention
from shared.kafka import new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic
from tests.integration.waiting import until

pytestmark = pytest.mark.io
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Workers:
    """Starts and ends worker processes of one group; what is left is ended at the end."""

    def __init__(self, settings: Settings, group: str, logs: Path) -> None:
        self._settings, self._group, self._logs = settings, group, logs
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, port: int = 0, **settings: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "KLANKBORD_KAFKA_BOOTSTRAP_SERVERS": self._settings.kafka_bootstrap_servers,
            "KLANKBORD_ENRICH_PORT": str(port),
            "KLANKBORD_CONFIG_FILE": "/nonexistent",
            **settings,
        }
        command = [sys.executable, "-m", "tests.integration.enrich_worker_process", self._group]
        with (self._logs / "workers.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], signum: signal.Signals) -> int:
        process.send_signal(signum)
        self._running.remove(process)
        return process.wait(timeout=20)

    def end_all(self) -> None:
        for process in self._running:
            process.kill()
            process.wait(timeout=20)


@pytest.fixture
def group() -> str:
    return f"test-enrich-{uuid4()}"


@pytest.fixture
def workers(kafka_settings: Settings, group: str, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(kafka_settings, group, tmp_path)
    yield workers
    workers.end_all()


@pytest.fixture
async def producer(kafka_settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = new_producer(kafka_settings)
    await producer.start()
    yield producer
    await producer.stop()


@asynccontextmanager
async def reader(settings: Settings, topic: Topic) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer of what comes into `topic` from now on."""
    consumer = new_consumer(settings=settings, group_id=None)
    await consumer.start()
    partitions = await partitions_of(consumer, topic)
    consumer.assign(partitions)
    await consumer.seek_to_end(*partitions)
    for partition in partitions:
        await consumer.position(partition)
    yield consumer
    await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, topic: Topic) -> list[TopicPartition]:
    await consumer._client._wait_on_metadata(topic.value)
    return [TopicPartition(topic.value, p) for p in sorted(consumer.partitions_for_topic(topic.value) or ())]


def mention(brand: str, number: int) -> RawMention:
    return RawMention.of(
        parse_mention(
            {
                "source": "test",
                "external_id": f"{brand}-{number}",
                "brand": brand,
                "text": f"Drie weken geleden gesolliciteerd, nog steeds niks gehoord ({number})",
                "published_at": "2026-02-01T10:00:00Z",
            },
            NOW,
        ),
        NOW,
    )


async def send(producer: AIOKafkaProducer, brand: str, numbers: range) -> None:
    sent = [
        await producer.send(Topic.RAW, raw.model_dump_json().encode(), raw.key)
        for raw in (mention(brand, number) for number in numbers)
    ]
    await asyncio.gather(*sent)


class Collected:
    """Counts what arrives of one brand."""

    def __init__(self, consumer: AIOKafkaConsumer, brand: str) -> None:
        self._consumer, self._brand = consumer, brand
        self.counts: Counter[str] = Counter()

    async def more(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=200)).values():
            for record in records:
                event = json.loads(record.value)
                if event["brand"] == self._brand:
                    self.counts[event["external_id"]] += 1

    def has_all(self, number: int) -> bool:
        return len(self.counts) == number


async def all_committed(settings: Settings, group: str) -> bool:
    """Whether the group's committed offsets are the ends of mentions.raw."""
    async with AsyncExitStack() as stack:
        consumer = new_consumer(settings=settings, group_id=group)
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        partitions = await partitions_of(consumer, Topic.RAW)
        ends = await consumer.end_offsets(partitions)
        committed = {partition: await consumer.committed(partition) or 0 for partition in partitions}
        return committed == ends


async def test_nothing_is_lost_when_workers_are_killed_and_rebalanced(
    kafka_settings: Settings, group: str, workers: Workers, producer: AIOKafkaProducer
) -> None:
    brand, total = str(uuid4()), 12_000
    async with reader(kafka_settings, Topic.ENRICHED) as consumer:
        collected = Collected(consumer, brand)
        first, second = workers.start(), workers.start()
        await send(producer, brand, range(2_000))
        await until(lambda: len(collected.counts) > 0, collected.more)
        sending = asyncio.create_task(send(producer, brand, range(2_000, 8_000)))
        assert workers.end(first, signal.SIGKILL) != 0
        first = workers.start()
        await until(lambda: len(collected.counts) > 3_000, collected.more)
        assert workers.end(second, signal.SIGTERM) == 0
        second = workers.start()
        await sending
        second.send_signal(signal.SIGSTOP)
        await send(producer, brand, range(8_000, total))
        second.send_signal(signal.SIGCONT)
        assert workers.end(first, signal.SIGKILL) != 0
        await until(lambda: collected.has_all(total), collected.more, seconds=90)
        await until(lambda: all_committed(kafka_settings, group), collected.more)
        assert workers.end(second, signal.SIGTERM) == 0


async def test_an_orderly_stop_neither_loses_nor_repeats(
    kafka_settings: Settings, group: str, workers: Workers, producer: AIOKafkaProducer
) -> None:
    brand, total = str(uuid4()), 6_000
    async with reader(kafka_settings, Topic.ENRICHED) as consumer:
        collected = Collected(consumer, brand)
        await send(producer, brand, range(total))
        worker = workers.start()
        await until(lambda: len(collected.counts) > 0, collected.more)
        assert workers.end(worker, signal.SIGTERM) == 0
        worker = workers.start()
        await until(lambda: collected.has_all(total), collected.more)
        await until(lambda: all_committed(kafka_settings, group), collected.more)
        assert workers.end(worker, signal.SIGTERM) == 0
        await collected.more()
    assert set(collected.counts.values()) == {1}


async def test_poison_goes_to_the_dead_letters_and_blocks_nobody(
    kafka_settings: Settings, group: str, workers: Workers, producer: AIOKafkaProducer
) -> None:
    brand = str(uuid4())
    poison = {
        f"not json {brand}".encode(): b"undecodable",
        f'{{"note": "{brand}"}}'.encode(): b"schema",
        b"x" * 2_000_000 + brand.encode(): b"too_large",
        b"\0" * 10 + brand.encode(): b"undecodable",
        b"[" * 10_000 + brand.encode(): b"undecodable",
    }
    async with (
        reader(kafka_settings, Topic.ENRICHED) as enriched,
        reader(kafka_settings, Topic.DEAD) as graveyard,
    ):
        for number, value in enumerate(poison):
            await send(producer, brand, range(number * 10, number * 10 + 10))
            await producer.send_and_wait(Topic.RAW, value, brand.encode())
        workers.start()
        collected = Collected(enriched, brand)
        await until(lambda: collected.has_all(50), collected.more)
        found = await dead_letters(graveyard, lambda record: record.key == brand.encode(), len(poison))
    assert {record.value: dict(record.headers)["reason"] for record in found} == poison
    for record in found:
        headers = dict(record.headers)
        assert headers["service"] == b"enrich"
        assert headers["topic"] == b"mentions.raw"
        assert int(headers["offset"]) >= 0 and headers["partition"].isdigit()


async def dead_letters(
    consumer: AIOKafkaConsumer, wanted: Callable[[ConsumerRecord], bool], number: int
) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []

    async def more() -> None:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            found.extend(record for record in records if wanted(record))

    await until(lambda: len(found) >= number, more)
    return found


async def test_ready_once_partitions_are_assigned(workers: Workers) -> None:
    port = any_free("127.0.0.1")
    workers.start(port)
    answers: list[tuple[int, dict[str, object]]] = []

    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                response = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
            except httpx.TransportError:
                await asyncio.sleep(0.02)
            else:
                answers.append((response.status_code, response.json()))

    await until(lambda: bool(answers) and answers[-1][0] == 200, ask)
    assert answers[-1][1] == {"status": "ready"}
    waiting = [body["waiting_for"] for status, body in answers if status == 503]
    assert waiting, "it was never seen waiting"


async def test_a_flood_of_bad_messages_stops_the_worker_with_nothing_committed(
    kafka_settings: Settings, group: str, workers: Workers, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    key = str(uuid4()).encode()
    sent = [await producer.send(Topic.RAW, b"not json %d" % number, key) for number in range(50)]
    first = min([(await acknowledged).offset for acknowledged in sent])
    process = workers.start(KLANKBORD_DEAD_LETTER_MAX_CONSECUTIVE="20")
    assert await asyncio.to_thread(process.wait, 60) == 1
    log = (tmp_path / "workers.log").read_text()
    assert "dead_letter_flood" in log and "messages in a row cannot be processed (limit 20)" in log
    async with AsyncExitStack() as stack:
        consumer = new_consumer(settings=kafka_settings, group_id=group)
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        (partition,) = {(await acknowledged).partition for acknowledged in sent}
        assert (await consumer.committed(TopicPartition(Topic.RAW, partition)) or 0) <= first
