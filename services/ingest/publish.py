"""Putting accepted mentions on Kafka's mentions.raw, and knowing whether they got there.

Kafka may be away at any time: the connection is made in the background and made anew when it breaks, and
meanwhile whoever publishes is told at once (DependencyUnavailable) instead of waiting.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import stamina
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from services.ingest.budget import Budget
from shared.clock import Clock
from shared.correction_events import CorrectedLabel, Correction, Value
from shared.errors import DependencyUnavailable
from shared.events import Mention, RawMention
from shared.kafka import close_producer, new_producer
from shared.metrics_catalogue import (
    ACCEPTED,
    CORRECTIONS_TAKEN,
    MAX_OTHER_SOURCES,
    PRODUCE_SECONDS,
    SOURCE_ITEMS,
    SOURCE_LAST_SUCCESS,
    Bounded,
)
from shared.produce import Message, send_batches
from shared.settings import Settings
from shared.topics import Topic
from shared.tracing import carried

CONNECT_SECONDS = 30.0
FLUSH_SECONDS = 3.0
PROBE_SECONDS = 2.0
FEW = 50
"""Messages that leave one by one, so that they share a batch with those of other requests."""
# For as long as it takes, at most five seconds apart.
_RETRY = stamina.AsyncRetryingCaller(
    attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0, wait_jitter=0.2
)

log = structlog.get_logger()


class Publisher:
    """Publishes mentions; one per process. `start` before, `stop` after."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        budget: Budget,
        make_producer: Callable[[Settings], AIOKafkaProducer] = new_producer,
        source_label: Bounded | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._budget = budget
        self._make_producer = make_producer
        self._source_label = source_label or Bounded((), MAX_OTHER_SOURCES)
        self._timeout = settings.ingest_produce_timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._broken = asyncio.Event()
        self._stopping = False
        self._received = datetime.min.replace(tzinfo=UTC)
        self._connecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; return at once, whether Kafka is there or not."""
        self._connecting = asyncio.create_task(_RETRY(Exception, self._hold_connection))

    async def stop(self) -> None:
        """Hand what was taken to Kafka, for at most FLUSH_SECONDS, and disconnect."""
        self._stopping = True
        self._broken.set()
        if self._connecting is not None:
            if self._producer is None:
                self._connecting.cancel()
            await asyncio.wait([self._connecting])
            self._connecting = None

    async def waiting_for(self) -> Mapping[str, str]:
        """Return what keeps it from publishing: {"kafka": reason}, or nothing."""
        if self._producer is None:
            return {"kafka": f"not connected to {self._settings.kafka_bootstrap_servers}"}
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                metadata = await self._producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError) as error:
            return {"kafka": f"no answer from {self._settings.kafka_bootstrap_servers} ({error!r})"}
        if Topic.RAW not in metadata.topics():
            return {"kafka": f"no topic {Topic.RAW} yet; create it with: klankbord topics"}
        return {}

    async def publish(self, mentions: Sequence[Mention], via: str) -> None:
        """Put `mentions` on mentions.raw, in their order; return once Kafka has acknowledged them all.

        `via` is the metric label of where they came in: http or feed. Raises DependencyUnavailable when not
        all were acknowledged in time (some may have been; publishing all again is harmless), and its
        subclass Overloaded when there is no room for them.
        """
        if not mentions:
            return
        producer = self._producer
        if producer is None:
            raise DependencyUnavailable("Kafka", "not connected yet")
        messages = self._messages(mentions)
        await self._produce(producer, Topic.RAW, messages)
        ACCEPTED.labels(via).inc(len(messages))
        self._count_sources(mentions)

    async def correct(self, mention_id: UUID, labels: Mapping[CorrectedLabel, Value], by: str) -> None:
        """Put corrections of a mention on the topic; return once Kafka has acknowledged them.

        Raises DependencyUnavailable, as `publish` does; sending them again is harmless.
        """
        producer = self._producer
        if producer is None:
            raise DependencyUnavailable("Kafka", "not connected yet")
        messages, headers = [], carried()
        for label, value in labels.items():
            event = Correction(
                mention_id=mention_id, label=label, value=value, by=by, corrected_at=self._now_received()
            )
            messages.append(Message(event.key, event.model_dump_json().encode(), headers))
        await self._produce(producer, Topic.CORRECTIONS, messages)
        for label in labels:
            CORRECTIONS_TAKEN.labels(label.value).inc()

    async def _produce(self, producer: AIOKafkaProducer, topic: Topic, messages: Sequence[Message]) -> None:
        size = sum(len(key) + len(value) for key, value, _ in messages)
        self._budget.take(size)
        began = self._clock.monotonic()
        await self._deliver(producer, topic, messages, size)
        PRODUCE_SECONDS.observe(self._clock.monotonic() - began)

    def _now_received(self) -> datetime:
        """Return the time, a microsecond after the last at least: it tells two versions apart."""
        self._received = max(self._clock.now(), self._received + timedelta(microseconds=1))
        return self._received

    def _count_sources(self, mentions: Sequence[Mention]) -> None:
        now = self._clock.now().timestamp()
        for source, count in Counter(mention.source for mention in mentions).items():
            label = self._source_label(source)
            SOURCE_ITEMS.labels(label).inc(count)
            SOURCE_LAST_SUCCESS.labels(label).set(now)

    async def _deliver(
        self, producer: AIOKafkaProducer, topic: Topic, messages: Sequence[Message], size: int
    ) -> None:
        """Send `messages`, wait for the acknowledgement; give `size` back when Kafka is done with them."""
        sent: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(self._timeout):
                if len(messages) > FEW:
                    async for acknowledgement in send_batches(producer, topic, messages):
                        sent.append(acknowledgement)
                else:
                    for key, value, headers in messages:
                        sent.append(await producer.send(topic, value, key, headers=headers))
                # wait() leaves them alone when time is up: aiokafka's sender trips over cancelled ones.
                await asyncio.wait(sent)
        except TimeoutError:
            raise DependencyUnavailable("Kafka", f"nothing acknowledged in {self._timeout:g} s") from None
        except KafkaError as error:
            raise self._failed(producer, error) from error
        finally:
            # Mentions that nobody waits for any longer are still in memory, until Kafka is back.
            settled = asyncio.gather(*sent, return_exceptions=True)
            settled.add_done_callback(lambda _settled: self._budget.give_back(size))
        for future in sent:
            if (failure := future.exception()) is not None:
                raise self._failed(producer, failure) from failure

    def _messages(self, mentions: Sequence[Mention]) -> list[Message]:
        """Return each mention's message on mentions.raw, each received a microsecond after the last.

        The time it was received is what tells two versions of a mention apart, also within a request.
        """
        messages, headers = [], carried()
        for mention in mentions:
            event = RawMention.of(mention, self._now_received())
            messages.append(Message(event.key, event.model_dump_json().encode(), headers))
        return messages

    def _failed(self, producer: AIOKafkaProducer, error: BaseException) -> DependencyUnavailable:
        """Have the connection replaced when `error` is one that an idempotent producer cannot get past.

        After a batch that was lost, Kafka refuses every later one of its partition as out of order.
        """
        outage = isinstance(error, KafkaTimeoutError) or getattr(error, "retriable", False)
        if not outage and producer is self._producer:
            log.error("kafka_producer_broken", error=repr(error))
            self._producer = None
            self._broken.set()
        return DependencyUnavailable("Kafka", repr(error))

    async def _hold_connection(self) -> None:
        """Connect, and stay so until told otherwise. Raises whatever came in between, to be tried again."""
        self._broken.clear()
        producer = self._make_producer(self._settings)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await producer.start()
            self._producer = producer
            log.info("kafka_connected", servers=self._settings.kafka_bootstrap_servers)
            await self._broken.wait()
        finally:
            self._producer = None
            if not await close_producer(producer, FLUSH_SECONDS):
                log.warning("kafka_not_flushed", hint="who sent it was told 503, and will send it again")
        if not self._stopping:
            raise DependencyUnavailable("Kafka", "the connection broke")
