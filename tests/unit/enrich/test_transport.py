"""What the consumer does when a rebalance, a commit and a stop meet; on a real Kafka: tests/integration."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import create_autospec

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from services.enrich import transport
from services.enrich.app import new_app
from services.enrich.transport import BatchApp, BatchConsumer, BatchConsumerThread, RecordRun
from shared.settings import Settings

PARTITION = TP("mentions.raw", 0)
IN_TIME = 5.0


class FakeConsumer:
    """Keeps what is committed; asked to hang, it never answers."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self.hangs = False

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(*PARTITION)}

    async def commit(self, offsets: dict[TopicPartition, Any]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        self.committed |= {partition: position.offset for partition, position in offsets.items()}


@contextmanager
def running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Run `loop` in a thread of its own."""

    async def end_all() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run() -> None:
        loop.run_forever()
        loop.run_until_complete(end_all())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    loop.call_soon_threadsafe(loop.stop)
    thread.join(IN_TIME)


@pytest.fixture
def fake() -> FakeConsumer:
    return FakeConsumer()


@pytest.fixture
async def consumer(fake: FakeConsumer) -> AsyncIterator[BatchConsumer]:
    consumer = new_app(Settings(), "test").batch_consumer
    thread = thread_of(consumer)
    thread._consumer = create_autospec(AIOKafkaConsumer, instance=True)
    thread._consumer.commit, thread._consumer.assignment = fake.commit, fake.assignment
    with running(thread.thread_loop):
        yield consumer


def thread_of(consumer: BatchConsumer) -> BatchConsumerThread:
    thread = consumer._thread
    assert isinstance(thread, BatchConsumerThread)
    return thread


def begin_to_stop(consumer: BatchConsumer) -> None:
    cast(BatchApp, consumer.app)._stopped.set()


def started_run(consumer: BatchConsumer) -> RecordRun:
    consumer.ledger.assign(PARTITION, 0)
    ticket = consumer.ledger.fetched(PARTITION, 0, 10)
    assert ticket is not None
    run = RecordRun(ticket, ())
    assert consumer.start_run(run)
    return run


async def test_a_commit_gets_through_while_all_else_in_the_thread_waits_for_a_rebalance(
    consumer: BatchConsumer, fake: FakeConsumer
) -> None:
    thread, rebalanced = thread_of(consumer), threading.Event()

    async def wait_for_the_rebalance() -> None:
        while not rebalanced.is_set():
            await asyncio.sleep(0.01)

    async with asyncio.timeout(IN_TIME):
        begun = asyncio.run_coroutine_threadsafe(thread.method_queue.start(), thread.thread_loop)
        await asyncio.wrap_future(begun)
        waiting = [asyncio.create_task(thread.call_thread(wait_for_the_rebalance)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await thread.commit({PARTITION: 7})
        rebalanced.set()
        await asyncio.gather(*waiting)
        ended = asyncio.run_coroutine_threadsafe(thread.method_queue.stop(), thread.thread_loop)
        await asyncio.wrap_future(ended)
    assert fake.committed == {TopicPartition(*PARTITION): 7}


async def test_a_commit_that_is_not_answered_has_failed_and_is_made_again(
    consumer: BatchConsumer, fake: FakeConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "COMMIT_PATIENCE_SECONDS", 0.05)
    consumer.finish_run(started_run(consumer))
    fake.hangs = True
    async with asyncio.timeout(IN_TIME):
        assert not await consumer.force_commit()
        fake.hangs = False
        assert await consumer.force_commit()
    assert fake.committed == {TopicPartition(*PARTITION): 10}


async def test_a_rebalance_that_meets_a_stop_waits_for_the_run_in_hand_and_commits_it(
    consumer: BatchConsumer, fake: FakeConsumer
) -> None:
    run = started_run(consumer)
    begin_to_stop(consumer)
    async with asyncio.timeout(IN_TIME):
        revoking = asyncio.create_task(consumer.on_partitions_revoked({PARTITION}))
        await asyncio.sleep(0.05)
        assert not revoking.done()
        assert consumer.finish_run(run)
        await revoking
    assert fake.committed == {TopicPartition(*PARTITION): 10}
    assert consumer.is_stale(run)


async def test_a_stop_does_not_wait_for_runs_whose_partition_was_let_go(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_run(consumer)
    begin_to_stop(consumer)
    stopping = asyncio.create_task(consumer.wait_empty())
    await asyncio.sleep(0.05)
    monkeypatch.setattr(transport, "REVOKE_PATIENCE_SECONDS", 0.05)
    async with asyncio.timeout(IN_TIME):
        await consumer.on_partitions_revoked({PARTITION})
        await stopping
