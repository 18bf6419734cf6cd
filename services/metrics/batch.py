"""When a batch is full, and how often the rollup is recounted. Pure bookkeeping: time is handed in."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

MAX_BATCH_BYTES = 67_108_864


@dataclass(slots=True)
class Batch:
    """Records that wait for their insert, bounded in rows, bytes and seconds; times are monotonic seconds."""

    max_rows: int
    max_seconds: float
    max_bytes: int = MAX_BATCH_BYTES
    records: list[ConsumerRecord] = field(default_factory=list)
    size: int = 0
    started_at: float = 0.0

    def add(self, records: Iterable[ConsumerRecord], now: float) -> None:
        """Add records, in the order in which they were read."""
        if not self.records:
            self.started_at = now
        for record in records:
            self.records.append(record)
            self.size += len(record.value or b"")

    def room(self) -> int:
        """Return how many rows may still be added; at least one."""
        return max(self.max_rows - len(self.records), 1)

    def due(self, now: float) -> bool:
        """Whether it is to be stored now."""
        return bool(self.records) and self.seconds_left(now) <= 0

    def seconds_left(self, now: float) -> float:
        """Return how long it may still wait."""
        if len(self.records) >= self.max_rows or self.size >= self.max_bytes:
            return 0.0
        return max(self.started_at + self.max_seconds - now, 0.0) if self.records else self.max_seconds

    def take(self) -> list[ConsumerRecord]:
        """Return the records, and be empty."""
        records, self.records, self.size = self.records, [], 0
        return records


def next_offsets(records: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    """Return, per partition, the offset to commit once `records` are done: that of the next to read."""
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        partition = TopicPartition(record.topic, record.partition)
        offsets[partition] = max(offsets.get(partition, 0), record.offset + 1)
    return offsets


@dataclass(slots=True)
class RecountPace:
    """Recounts follow each other by at least `min_seconds`, and take at most a quarter of the time.

    While an old file comes in, every batch touches thousands of hours; counting them after each batch would
    cost more than the inserts do.
    """

    min_seconds: float = 1.0
    share: float = 0.25
    next_at: float = 0.0

    def due(self, now: float) -> bool:
        """Whether a recount may begin."""
        return now >= self.next_at

    def took(self, seconds: float, now: float) -> None:
        """Note that a recount ended at `now` and took `seconds`."""
        self.next_at = now + max(self.min_seconds, seconds * (1 / self.share - 1))
