"""How many messages a second a process takes from one topic and writes to another."""

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PARTITIONS = 8
POLL_SECONDS = 0.02
STALL_SECONDS = 60.0


class Rate(NamedTuple):
    """How fast a process was."""

    per_second: float
    peak_bytes: int
    """The most memory that it held (VmHWM)."""


async def fill(servers: str, topic: str, events: Sequence[bytes]) -> None:
    """Write the events to a topic, dealt over its partitions; it is made when it is not there."""
    await make(servers, topic)
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=20, max_batch_size=524_288)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, event, partition=number % PARTITIONS)
            for number, event in enumerate(events)
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def make(servers: str, topic: str) -> None:
    """Make a topic, if it is not there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)], timeout_ms=10_000)
    finally:
        await admin.close()


async def written(consumer: AIOKafkaConsumer, topic: str) -> int:
    """Return how many messages were ever written to a topic."""
    ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
    return sum(ends.values())


async def rate(servers: str, argv: Sequence[str], out: str, many: int, environment: dict[str, str]) -> Rate:
    """Run a process until it has written `many` messages to `out`; return how fast, first to last.

    Its start (imports, joining the group) is not counted. Raises RuntimeError when it ends or stands still.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    before = await written(consumer, out)
    log = Path(environment["BENCH_LOG"])
    with log.open("ab") as file:
        process = subprocess.Popen(argv, env=os.environ | environment, stdout=file, stderr=file)
    try:
        return await _measured(consumer, process, out, before, many)
    finally:
        process.kill()
        process.wait()
        await consumer.stop()


async def _measured(
    consumer: AIOKafkaConsumer, process: subprocess.Popen[bytes], out: str, before: int, many: int
) -> Rate:
    first: tuple[float, int] | None = None
    last = (time.perf_counter(), 0)
    while True:
        done = await written(consumer, out) - before
        now = time.perf_counter()
        if done > last[1]:
            last = (now, done)
            first = first or last
        if done >= many and first is not None:
            # At least one look after the first: what was there then is not counted.
            return Rate((done - first[1]) / (now - first[0]), peak(process.pid))
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        if now - last[0] > STALL_SECONDS:
            raise RuntimeError(f"{process.args} stood still at {done:,} of {many:,}")
        await asyncio.sleep(POLL_SECONDS)


def peak(pid: int) -> int:
    """Return the most memory that a process has held, in bytes; 0 when it is gone."""
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1_024
    return 0


def resident(pid: int) -> int:
    """Return the memory that a process holds, in bytes; 0 when it is gone."""
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1_024
    return 0
