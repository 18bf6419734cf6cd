"""How far a consumer is behind: what Kafka has, less what its group has committed.

Asked of the brokers, so that it keeps growing while the worker itself is stuck.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from shared.kafka import connection_options, new_consumer
from shared.liveness import Standing
from shared.metrics_catalogue import Exporter, show_lag
from shared.settings import Settings
from shared.topics import Topic

EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
log = structlog.get_logger()


class LagReporter:
    """Exports the lag of the partitions that a worker holds, every few seconds, until cancelled."""

    def __init__(
        self,
        settings: Settings,
        exporter: Exporter,
        topic: Topic,
        group: str,
        held: Callable[[], Iterable[int]],
    ) -> None:
        self._settings = settings
        self._exporter = exporter
        self._topic = topic
        self._group = group
        self._held = held
        # What the group had committed when last asked; None while Kafka does not answer.
        self._committed: dict[TopicPartition, int] | None = None
        self._behind = 0

    def standing(self, done: Hashable = None, *, excused: bool) -> Standing:
        """Return how the consumer stands; `done` is what it did besides committing, if there is such."""
        committed = self._committed
        progress = (tuple(sorted((committed or {}).items())), done)
        return Standing(progress, self._behind, excused or committed is None)

    async def run(self) -> None:
        """Report for ever. While Kafka is away the last figures stay, and it is tried again."""
        said = ""
        while True:
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError) as error:
                self._committed = None
                if type(error).__name__ != said:
                    log.warning("lag_unknown", reason=repr(error), then="the last figures stay")
                said = type(error).__name__
            await asyncio.sleep(EVERY_SECONDS)

    async def _session(self) -> None:
        consumer = new_consumer(settings=self._settings, group_id=None)
        admin = AIOKafkaAdminClient(**connection_options(self._settings))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await consumer.start()
                await admin.start()
            while True:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._report(consumer, admin)
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            await consumer.stop()
            await admin.close()

    async def _report(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        held = [TopicPartition(self._topic.value, number) for number in self._held()]
        ends = await consumer.end_offsets(held) if held else {}
        begins = await consumer.beginning_offsets(held) if held else {}
        committed = await admin.list_consumer_group_offsets(self._group)
        done = {tp: committed[tp].offset for tp in held if tp in committed}
        waiting = lags(begins, ends, done)
        self._committed, self._behind = done, sum(waiting.values())
        show_lag(self._exporter, self._topic, waiting)


def lags(
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    done: Mapping[TopicPartition, int],
) -> dict[int, int]:
    """Return the lag by partition; where nothing was ever committed all that is there still waits."""
    return {tp.partition: max(end - max(done.get(tp, -1), begins[tp]), 0) for tp, end in ends.items()}
