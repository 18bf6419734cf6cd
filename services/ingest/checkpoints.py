"""How far each connector is, kept on the compacted Kafka topic ingest.checkpoints.

Read to its end at start, held in memory, and written through: `put` returns once Kafka has acknowledged. So a
checkpoint is as durable as the mentions it stands for, and ingest needs no disk of its own.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic_core import from_json, to_json

from shared.errors import DependencyUnavailable
from shared.kafka import close_producer, new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic

log = structlog.get_logger()

MAX_CHECKPOINT_BYTES = 524_288
READ_SECONDS = 60.0
WRITE_SECONDS = 20.0
CLOSE_SECONDS = 3.0


class CheckpointStore:
    """The checkpoints of all connectors: key to JSON object."""

    def __init__(self, settings: Settings, topic: str = Topic.CHECKPOINTS) -> None:
        self._settings = settings
        # One partition, so that all of it is read in order.
        self._partition = TopicPartition(str(topic), 0)
        self._values: dict[str, Mapping[str, Any]] = {}
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Read every checkpoint there is. May be tried again after it failed.

        Raises DependencyUnavailable while Kafka does not answer or the topic is not there.
        """
        consumer = new_consumer(settings=self._settings, group_id=None)
        try:
            async with asyncio.timeout(READ_SECONDS):
                await consumer.start()
                self._values = await self._read_all(consumer)
        except (KafkaError, OSError) as error:
            raise DependencyUnavailable("Kafka", f"reading {self._partition.topic}: {error!r}") from error
        finally:
            await consumer.stop()

    async def stop(self) -> None:
        """Close the connection to Kafka; nothing is left unwritten."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await close_producer(producer, CLOSE_SECONDS)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last put under `key`, or None."""
        return self._values.get(key)

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Remember `value` under `key`; return once Kafka has acknowledged it.

        Raises DependencyUnavailable on an outage; `get` then still answers the earlier value. Raises
        ValueError when the value is larger than MAX_CHECKPOINT_BYTES as JSON.
        """
        data = to_json(value)
        if len(data) > MAX_CHECKPOINT_BYTES:
            raise ValueError(f"the checkpoint {key!r} is {len(data):,} bytes, over {MAX_CHECKPOINT_BYTES:,}")
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                producer = await self._started_producer()
                # shield(): aiokafka's sender trips over a future that was cancelled.
                topic, partition = self._partition
                await asyncio.shield(await producer.send(topic, data, key.encode(), partition))
        except (KafkaError, OSError) as error:
            # An idempotent producer may never recover from a failed send: the next put makes a new one.
            await self.stop()
            raise DependencyUnavailable("Kafka", f"writing {self._partition.topic}: {error!r}") from error
        self._values[key] = value

    async def _started_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = new_producer(self._settings)
                try:
                    await producer.start()
                except BaseException:
                    await close_producer(producer, CLOSE_SECONDS)
                    raise
                self._producer = producer
            return self._producer

    async def _read_all(self, consumer: AIOKafkaConsumer) -> dict[str, Mapping[str, Any]]:
        topic = self._partition.topic
        if topic not in await consumer.topics():
            reason = f"the topic {topic} is not there; create it with: klankbord topics"
            raise DependencyUnavailable("Kafka", reason)
        consumer.assign([self._partition])
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        values: dict[str, Mapping[str, Any]] = {}
        while await consumer.position(self._partition) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    _take(values, record.key, record.value)
        return values


def _take(values: dict[str, Mapping[str, Any]], key: bytes | None, data: bytes | None) -> None:
    """Put one record into `values`; without data it is a tombstone."""
    name = (key or b"").decode("utf-8", "replace")
    if data is None:
        values.pop(name, None)
        return
    try:
        value = from_json(data)
    except ValueError:
        value = None
    if isinstance(value, dict):
        values[name] = value
    else:
        log.warning("checkpoint_not_readable", key=name, bytes=len(data))
