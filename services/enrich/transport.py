"""Faust, fed in batches: each run of records that was fetched from one partition is one event.

Faust hands on one message at a time, with four tasks each, and acks what an agent failed on; both are wrong
for us (docs/decisions/0003-batch-transport.md). Here the consumer delivers a `RecordRun` as an event's value
and alone decides what is committed, by the OffsetLedger: only runs that the agent said are finished.

Written against faust-streaming 0.15.3 exactly; tests/integration/test_enrich_worker.py holds it to that.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import faust
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from services.enrich.ledger import OffsetLedger, Ticket

log = structlog.get_logger()

REVOKE_PATIENCE_SECONDS = 20.0
"""How long a rebalance waits for the runs in hand; well within Kafka's rebalance timeout."""
COMMIT_PATIENCE_SECONDS = 10.0
"""How long a commit may take before it counts as failed."""


@dataclass(frozen=True, slots=True)
class RecordRun:
    """Records of one partition with rising offsets, and the ticket to account for them by."""

    ticket: Ticket[TP]
    records: Sequence[ConsumerRecord]


class PassThroughSchema(faust.Schema[Any, Any]):
    """Hand a message's value on as it is: it is a RecordRun already."""

    def compile(self, app: Any, **_kwargs: Any) -> Any:
        """Return the function that makes an event of a message."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Commits without taking the worker down when Kafka is away: the next commit says the same again."""

    async def commit(self, tps: Mapping[TP, int]) -> bool:
        """Commit the offsets in `tps`; False when that did not succeed in time.

        Called in the main thread. Not by Faust's queue of calls to this thread: its two workers may both be
        waiting for the end of the rebalance that waits for this commit, and a stop cancels what they do.
        """
        committing = asyncio.run_coroutine_threadsafe(self._commit(tps), self.thread_loop)
        answer = asyncio.wrap_future(committing)
        await asyncio.wait([answer], timeout=COMMIT_PATIENCE_SECONDS)
        if not answer.done():
            log.warning("commit_unanswered", seconds=COMMIT_PATIENCE_SECONDS, retry="with the next commit")
            answer.cancel()
        return not answer.cancelled() and answer.result()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        wanted = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
        }
        try:
            await self._ensure_consumer().commit(wanted)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit_refused_after_rebalance", reason=str(error))
            return False
        except KafkaError as error:
            log.warning("commit_failed", reason=repr(error), retry="with the next commit")
            return False
        return True

    def close(self) -> None:
        """Leave the closing to the thread's own stop, which follows.

        Faust calls this when a rebalance meets a stop, and would close the client and the coordinator from
        the main thread's event loop: under the very commit that the stop waits for.
        """

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave Faust's per-message stall warnings out: they look at acks, which are not used here."""


class BatchConsumer(driver.Consumer):
    """Delivers runs of records, and commits what the ledger allows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledger: OffsetLedger[TP] = OffsetLedger()
        self._progress = asyncio.Event()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- what the agent calls

    def start_run(self, run: RecordRun) -> bool:
        """Begin with a run; False when its partition was revoked meanwhile: leave it alone."""
        return self.ledger.start(run.ticket)

    def finish_run(self, run: RecordRun) -> bool:
        """Account for a run whose output Kafka has acknowledged; False when it is not ours any more."""
        finished = self.ledger.finish(run.ticket)
        self._progress.set()
        return finished

    def is_stale(self, run: RecordRun) -> bool:
        """Whether the run's partition was revoked, so that its output need not be tried again."""
        return self.ledger.is_stale(run.ticket)

    # --- fetching

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until stopped; replaces Faust's loop over single messages."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                await asyncio.sleep(0)
                records, active = await self._wait_next_records(timeout=1.0)
                generation = self.app.consumer_generation_id
                for tp, run in (records or {}).items():
                    if not self.flow_active or self.app.consumer_generation_id != generation:
                        break
                    if active is None or tp in active:
                        await self._deliver(tp, run)
        except (ConsumerStoppedError, asyncio.CancelledError):
            # A stop cancels the fetching; were that raised, Faust would log an orderly stop as a crash.
            if not self.app.should_stop:
                raise

    async def _deliver(self, tp: TP, records: Sequence[ConsumerRecord]) -> None:
        if not records:
            return
        ticket = self.ledger.fetched(tp, records[0].offset, records[-1].offset + 1)
        if ticket is None:
            return
        message = self._to_message(tp, records[-1])
        message.value = cast(Any, RecordRun(ticket, records))
        # Waits while the agent's queue is full; a rebalance ends the wait, and the run is fetched again.
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def on_buffer_full(self, tp: TP) -> None:
        """Keep the partition: a full queue makes _deliver wait, which is all the back-pressure needed."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing was taken out by on_buffer_full."""

    # --- positions

    async def perform_seek(self) -> None:
        """Go to the committed offsets, after an assignment."""
        positions = await self.seek_to_committed()
        for tp in self.assignment():
            offset = positions.get(tp)
            self.ledger.assign(tp, offset if offset is not None and offset >= 0 else None)

    async def seek(self, partition: TP, offset: int) -> None:
        """Go to `offset`; what was fetched of the partition before is forgotten."""
        await super().seek(partition, offset)
        self.ledger.assign(partition, offset)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the runs in hand finish and commit them (the app calls wait_empty), then let go.

        While it stops, the app leaves the waiting to the stop, which goes on beside this.
        """
        await super().on_partitions_revoked(revoked)
        if self.app.should_stop:
            await self.wait_empty()
        self.ledger.revoke(revoked)
        # Whoever waits for runs of these partitions waits for nothing any more.
        self._progress.set()

    # --- committing

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what the ledger allows; False when there is nothing to commit or it did not succeed."""
        assignment = self.assignment()
        offsets = {tp: offset for tp, offset in self.ledger.committable().items() if tp in assignment}
        if not offsets or not await self._commit(offsets):
            return False
        self.ledger.committed(offsets)
        return True

    async def wait_empty(self) -> None:
        """Wait for the runs in hand, for a while, and commit; runs that only wait in a queue are dropped."""
        deadline = asyncio.get_running_loop().time() + REVOKE_PATIENCE_SECONDS
        while self.ledger.working():
            self._progress.clear()
            remaining = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._progress.wait(), max(remaining, 0))
            except TimeoutError:
                log.warning("runs_left_unfinished", runs=self.ledger.unfinished(), then="they are read again")
                break
        await self.maybe_wait_for_commit_to_finish()
        await self.force_commit()

    async def on_task_error(self, exc: BaseException) -> None:
        """Commit nothing on an error; what is finished is committed in its time."""


class BatchTransport(driver.Transport):
    """The aiokafka transport, with the consumer above."""

    Consumer = BatchConsumer


class BatchApp(faust.App):
    """A Faust app whose consumer delivers runs of records."""

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    @property
    def batch_consumer(self) -> BatchConsumer:
        """The consumer, as what it is."""
        return cast(BatchConsumer, self.consumer)


def assigned_partitions(consumer: BatchConsumer) -> Iterable[TP]:
    """Return the partitions that the worker holds."""
    return cast(Iterable[TP], consumer.assignment())
