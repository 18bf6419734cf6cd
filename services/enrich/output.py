"""Writes enriched mentions and dead letters to Kafka in batches, and waits for the acknowledgement."""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.enrich.agent import Outcome
from shared.dead_letters import bury
from shared.kafka import close_producer
from shared.produce import Message, send_batches
from shared.topics import Topic

SERVICE = "enrich"
CLOSE_SECONDS = 2.0


class KafkaOutput:
    """One producer, started when it is first needed and made anew when it failed for good."""

    def __init__(self, new_producer: Callable[[], AIOKafkaProducer]) -> None:
        self._new_producer = new_producer
        self._producer: AIOKafkaProducer | None = None
        self.failing = False
        """Whether the last write failed: an outage is being waited out."""

    async def write(self, outcome: Outcome) -> None:
        """Return once Kafka has acknowledged all of `outcome`.

        Raises KafkaError when it has not; writing the same again is harmless, as all that is
        downstream goes by the mention's id.
        """
        try:
            producer = await self._started()
            acknowledgements = [bury(producer, b.record, b.reason, b.detail, SERVICE) for b in outcome.bad]
            await asyncio.gather(_write_enriched(producer, outcome.enriched), *acknowledgements)
        except KafkaError:
            # An idempotent producer that gave up on a batch may refuse all that follows: begin afresh.
            self.failing = True
            await self.stop()
            raise
        self.failing = False

    async def stop(self) -> None:
        """Close the producer, if there is one; all it was given is acknowledged or will be written again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, CLOSE_SECONDS)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = self._new_producer()
            try:
                await producer.start()
            except BaseException:
                await close_producer(producer, CLOSE_SECONDS)
                raise
            self._producer = producer
        return self._producer


async def _write_enriched(producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
    pending = [sent async for sent in send_batches(producer, Topic.ENRICHED, messages)]
    for acknowledgement in await asyncio.gather(*pending, return_exceptions=True):
        if isinstance(acknowledgement, BaseException):
            raise acknowledgement
