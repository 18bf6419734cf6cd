"""From mentions.enriched to ClickHouse: batches in, offsets committed once all of their effect is there.

    read ─> batch ─> put bad ones aside, write the rest ─> recount the hours touched ─> commit

An outage of ClickHouse or Kafka is waited out, visibly, for as long as it lasts; meanwhile nothing more is
read. A crash anywhere leads to a replay, which writes the same again and changes nothing.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from services.metrics.batch import Batch, RecountPace, next_offsets
from services.metrics.positions import Hour
from services.metrics.rows import BadRecord, Event, read, read_corrections
from services.metrics.store import ClickHouseStore
from services.metrics.writer import Store, Written, write
from shared.clock import Clock, SystemClock
from shared.dead_letters import bury
from shared.errors import DependencyUnavailable
from shared.kafka import new_consumer, new_producer
from shared.metrics_catalogue import (
    DEAD_LETTERS,
    END_TO_END,
    SINK_BATCH_ROWS,
    SINK_CORRECTIONS,
    SINK_INSERT_SECONDS,
    SINK_LAST_COMMIT,
    SINK_RETRIES,
    SINK_ROWS,
)
from shared.settings import Settings
from shared.topics import Topic
from shared.tracing import batch_span

log = structlog.get_logger()
Result = TypeVar("Result")

GROUP_ID = "klankbord-metrics"
SERVICE = "metrics"
BACKOFF_SECONDS = (0.2, 15.0)
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 3.0
"""How long a rebalance, or a stop, waits for what is in hand. What is not done by then is read again."""
STOP_SECONDS = 3.5
CLOSE_SECONDS = 0.7
MAX_HOURS = 200_000
"""So many hours of brands are remembered at most before they are recounted."""
TOPICS_READ = (Topic.ENRICHED, Topic.CORRECTIONS)
_NO_PARTITION = TopicPartition(Topic.ENRICHED.value, -1)


class CloseableStore(Store, Protocol):
    """A store that the sink opened."""

    def close(self) -> None:
        """Let go of it."""
        ...


class Sink(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """One worker. `waiting_for` tells the readiness probe what keeps it from working: {check: reason}."""

    def __init__(
        self,
        settings: Settings,
        *,
        group_id: str = GROUP_ID,
        open_store: Callable[[Settings], CloseableStore] = ClickHouseStore.open,
        clock: Clock | None = None,
    ) -> None:
        self.waiting_for: dict[str, str] = {"kafka": "not joined yet"}
        self.stored = 0
        """Batches that were written."""
        self._settings = settings
        self._group_id = group_id
        self._open_store = open_store
        self._clock = clock or SystemClock()
        self._batch = Batch(settings.sink_max_rows, settings.sink_max_seconds)
        self._pace = RecountPace()
        # What is stored but not yet recounted, and what is then to be committed.
        self._hours: set[Hour] = set()
        self._offsets: dict[TopicPartition, int] = {}
        # When ingest took the oldest mention that is stored and not yet recounted; microseconds since 1970.
        self._oldest: int | None = None
        # One batch or recount at a time: a rebalance finds it either done or not begun.
        self._at_work = asyncio.Lock()
        # Counts rebalances, so that work begun before one is not committed after it.
        self._assignment = 0
        self._stopping = asyncio.Event()
        self._store: CloseableStore | None = None
        self._consumer: AIOKafkaConsumer = None
        self._producer: AIOKafkaProducer = None

    # --- life

    def stop(self) -> None:
        """Finish what is in hand and return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop` is called; return soon after, also when Kafka does not answer."""
        working = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working}, timeout=STOP_SECONDS)
        finally:
            stopped.cancel()
            if working.cancel():
                log.warning("stopped_before_done", then="what was in hand is read again")
        with contextlib.suppress(asyncio.CancelledError):
            await working
        if self._store is not None:
            self._store.close()

    async def _work(self) -> None:
        """Run sessions one after the other. An outage of Kafka, also at the start, is waited out."""
        backoff = _Backoff()
        while not self._stopping.is_set():
            try:
                await self._session(backoff)
            except KafkaError as error:
                self.waiting_for["kafka"] = type(error).__name__
                delay = backoff.next()
                log.warning("kafka_unavailable", reason=repr(error), retry_in_seconds=round(delay, 1))
                await self._pause(delay)

    async def _session(self, backoff: "_Backoff") -> None:
        """Join the group and work until stopped, or until Kafka fails (KafkaError)."""
        self._forget()
        self._consumer = new_consumer(settings=self._settings, group_id=self._group_id)
        self._producer = new_producer(self._settings)
        try:
            await self._consumer.start()
            await self._producer.start()
            await self._topic_is_there()
            self._consumer.subscribe([topic.value for topic in TOPICS_READ], listener=self)
            backoff.reset()
            while not self._stopping.is_set():
                await self._turn()
            await self._finish()
        finally:
            await _closed(self._producer)
            await _closed(self._consumer)

    async def _topic_is_there(self) -> None:
        """Wait until the topics exist: a consumer that subscribes before would not see one for minutes."""
        while not self._stopping.is_set():
            there = await self._consumer.topics()
            missing = [topic.value for topic in TOPICS_READ if topic not in there]
            if not missing:
                return
            self.waiting_for["kafka"] = f"no topic {' and '.join(missing)} yet: run klankbord topics"
            await self._pause(1.0)

    async def _turn(self) -> None:
        """Read for a moment; store and recount when it is time to."""
        wait = min(self._batch.seconds_left(self._clock.monotonic()), POLL_SECONDS)
        fetched = await self._consumer.getmany(timeout_ms=int(wait * 1000), max_records=self._batch.room())
        for records in fetched.values():
            self._batch.add(records, self._clock.monotonic())
        async with self._at_work:
            if self._batch.due(self._clock.monotonic()):
                await self._store_batch()
            if self._pace.due(self._clock.monotonic()) or len(self._hours) >= MAX_HOURS:
                await self._settle()

    async def _finish(self) -> None:
        """Store, recount and commit what is in hand, if it can be done soon."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._at_work:
                await self._store_batch()
                await self._settle()
        except TimeoutError:
            log.warning("stopped_before_done", then="it is read again at the next start")

    def held(self) -> list[int]:
        """Return the partitions that this worker holds."""
        if self._consumer is None:
            return []
        assigned = self._consumer.assignment()
        return sorted(partition.partition for partition in assigned if partition.topic == Topic.ENRICHED)

    # --- rebalances

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Be ready; reading begins at the committed offsets."""
        self.waiting_for.pop("kafka", None)
        log.info("partitions_assigned", partitions=self.held())

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit what is stored; what is only read will be read again by whoever gets the partition."""
        self._batch.take()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._at_work:
                await self._settle()
        except TimeoutError:
            log.warning("revoked_before_done", then="it is read again")
        finally:
            self._forget()

    def _forget(self) -> None:
        """Drop what is not stored or not to be committed; hours that are stored are still to be recounted."""
        self._assignment += 1
        self._batch.take()
        self._offsets.clear()

    # --- work

    async def _store_batch(self) -> None:
        records = self._batch.take()
        if not records:
            return
        assignment = self._assignment
        mentions = [record for record in records if record.topic == Topic.ENRICHED]
        if len(mentions) < len(records) and not await self._store_corrections(records, assignment):
            return
        events, bad = await asyncio.to_thread(read, mentions)
        await self._bury(bad)
        with batch_span("store", Topic.ENRICHED, mentions):
            written = await self._until_done(lambda store: self._write(events, store), assignment)
        if written is None:
            return
        self.stored += 1
        self._hours |= written.hours
        self._note_oldest(events)
        log.debug("batch_stored", events=len(events), rows=written.rows, stale=written.stale)
        await self._bury(written.refused)
        if assignment == self._assignment:
            self._offsets |= next_offsets(records)

    async def _store_corrections(self, records: Sequence[ConsumerRecord], assignment: int) -> bool:
        """Store what is a correction among `records`; return whether that was done."""
        corrections, bad = read_corrections(r for r in records if r.topic == Topic.CORRECTIONS)
        await self._bury(bad)
        if corrections:
            hours = await self._until_done(lambda store: store.correct(corrections), assignment)
            if hours is None:
                return False
            self._hours |= set(hours)
            SINK_CORRECTIONS.inc(len(corrections))
            log.info("corrections_stored", corrections=len(corrections), hours=len(hours))
        return True

    def _note_oldest(self, events: Sequence[Event]) -> None:
        received = [event.position.version for event in events]
        if received:
            self._oldest = min([*received, self._oldest] if self._oldest is not None else received)

    def _observe_delay(self) -> None:
        """Note how long the slowest of the mentions that can be queried now was on its way."""
        if self._oldest is not None:
            END_TO_END.observe(max(self._clock.now().timestamp() - self._oldest / 1e6, 0))
            self._oldest = None

    def _write(self, events: list[Event], store: Store) -> Written:
        started = self._clock.monotonic()
        written = write(events, store)
        SINK_INSERT_SECONDS.observe(self._clock.monotonic() - started)
        SINK_ROWS.inc(written.rows)
        SINK_BATCH_ROWS.observe(written.rows)
        return written

    async def _settle(self) -> None:
        """Recount the hours that were touched, then commit what touched them."""
        assignment, hours, offsets = self._assignment, frozenset(self._hours), dict(self._offsets)
        if hours:
            started = self._clock.monotonic()
            if await self._until_done(lambda store: _recounted(store, hours), assignment) is None:
                return
            now = self._clock.monotonic()
            self._pace.took(now - started, now)
            self._hours -= hours
            self._observe_delay()
        if offsets and assignment == self._assignment:
            await self._commit(offsets)

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit_refused_after_rebalance", reason=str(error))
        else:
            SINK_LAST_COMMIT.set(self._clock.now().timestamp())
        for partition, offset in offsets.items():
            if self._offsets.get(partition) == offset:
                del self._offsets[partition]

    async def _bury(self, bad: Sequence[BadRecord]) -> None:
        """Put messages aside. A KafkaError ends the session, and what is in hand is read again."""
        await asyncio.gather(*(bury(self._producer, b.record, b.reason, b.detail, SERVICE) for b in bad))
        for one in bad:
            DEAD_LETTERS.labels(SERVICE, one.reason.value).inc()
            log.warning(
                "message_put_aside",
                reason=one.reason.value,
                topic=one.record.topic,
                partition=one.record.partition,
                offset=one.record.offset,
            )

    async def _until_done(self, work: Callable[[Store], Result], assignment: int) -> Result | None:
        """Return what `work` returns, waiting out outages; None when there is no point any more.

        That is when the sink stops, or its partitions were taken away meanwhile.
        """
        backoff = _Backoff()
        while True:
            try:
                result = await asyncio.to_thread(self._with_store, work)
            except DependencyUnavailable as error:
                self.waiting_for["clickhouse"] = error.reason
                delay = backoff.next()
                SINK_RETRIES.inc()
                log.warning("clickhouse_unavailable", reason=error.reason, retry_in_seconds=round(delay, 1))
                await self._still_alive()
                await self._pause(delay)
            else:
                if self.waiting_for.pop("clickhouse", None):
                    log.info("clickhouse_is_back")
                return result
            if self._stopping.is_set() or assignment != self._assignment:
                return None

    def _with_store(self, work: Callable[[Store], Result]) -> Result:
        if self._store is None:
            self._store = self._open_store(self._settings)
        return work(self._store)

    # --- waiting

    async def _still_alive(self) -> None:
        """Poll for no partition: takes no records, but tells aiokafka that this member is not stuck."""
        await self._consumer.getmany(_NO_PARTITION)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond a stop."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


async def _closed(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Close a Kafka client; one that cannot say goodbye, for Kafka does not answer, is left."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.stop()
    except (TimeoutError, KafkaError) as error:
        log.warning("kafka_client_left_open", reason=repr(error))


def _recounted(store: Store, hours: Iterable[Hour]) -> bool:
    store.recount(hours)
    return True


class _Backoff:
    """Delays that double up to a bound, with jitter, so that workers do not come back all at once."""

    def __init__(self) -> None:
        self._delay = BACKOFF_SECONDS[0]

    def next(self) -> float:
        """Return the seconds to wait now."""
        delay, self._delay = self._delay, min(self._delay * 2, BACKOFF_SECONDS[1])
        return delay * random.uniform(0.8, 1.2)

    def reset(self) -> None:
        """Begin with the shortest delay again."""
        self._delay = BACKOFF_SECONDS[0]
