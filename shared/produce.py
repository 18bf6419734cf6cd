"""Many messages to Kafka at once: each where Kafka itself would put it, in the fewest batches that hold them.

aiokafka chooses the partition in pure Python, a byte at a time, and makes a future of every message; for a
request of thousands of mentions, and for what the worker writes, that is most of the time that Kafka takes.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

_SEED, _M = 0x9747B28C, np.uint32(0x5BD1E995)

Hashes = npt.NDArray[np.uint32]


class Message(NamedTuple):
    """One message to write."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


async def send_batches(
    producer: AIOKafkaProducer, topic: str, messages: Sequence[Message]
) -> AsyncIterator[asyncio.Future[RecordMetadata]]:
    """Hand over `messages`, those of one key in their order; yield the acknowledgement to come of each batch.

    Raises KafkaError when Kafka cannot be reached.
    """
    count = len(await producer.partitions_for(topic))
    by_partition: dict[int, list[Message]] = defaultdict(list)
    for partition, message in zip(partitions_of([m.key for m in messages], count), messages, strict=True):
        by_partition[partition].append(message)
    for partition, chosen in by_partition.items():
        batch = producer.create_batch()
        for key, value, headers in chosen:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                yield await producer.send_batch(batch, topic, partition=partition)
                batch = producer.create_batch()
                # The first message always fits: the limit that counts for it is the topic's.
                batch.append(key=key, value=value, timestamp=None, headers=headers)
        yield await producer.send_batch(batch, topic, partition=partition)


def partitions_of(keys: Sequence[bytes], count: int) -> list[int]:
    """Return, for each key, which of `count` partitions Kafka's default partitioner puts it in."""
    numbers = np.zeros(len(keys), np.int64)
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        by_length[len(key)].append(place)
    for length, places in by_length.items():
        joined = b"".join([keys[place] for place in places])
        hashes = _murmur2(np.frombuffer(joined, np.uint8).reshape(len(places), length))
        numbers[places] = (hashes & np.uint32(0x7FFFFFFF)) % count
    partitions: list[int] = numbers.tolist()
    return partitions


def _murmur2(keys: npt.NDArray[np.uint8]) -> Hashes:
    """Return the 32-bit MurmurHash2 of keys of one length, as Kafka's Java client has it; shape (keys,)."""
    many, length = keys.shape
    whole = length // 4 * 4
    hashes: Hashes = np.full(many, _SEED ^ length, np.uint32)
    for word in np.ascontiguousarray(keys[:, :whole]).view("<u4").T:
        mixed = word * _M
        mixed ^= mixed >> 24
        hashes = hashes * _M ^ mixed * _M
    for place in range(length - 1, whole - 1, -1):
        hashes = hashes ^ (keys[:, place].astype(np.uint32) << np.uint32(8 * (place - whole)))
    if length > whole:
        hashes = hashes * _M
    hashes ^= hashes >> 13
    hashes *= _M
    hashes ^= hashes >> 15
    return hashes
