"""Which offsets may be committed. Pure bookkeeping: no Kafka, no clock, no tasks.

Each partition that is held has a queue of the runs of records that were fetched, in the order of their
offsets. A run that is done stays in the queue until all before it are done too; the offset after the last
such run is what may be committed. So a commit never passes a run that is unfinished, a gap in the offsets
(compaction, transaction markers) never blocks it, and a commit that failed is simply tried again.

A run belongs to one assignment of its partition. When the partition is revoked, or the consumer seeks, its
runs are forgotten; their tickets are stale from then on, whatever their holders do with them.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Partition = TypeVar("Partition")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[Partition]):
    """One run of records: offsets `first` up to, and not including, `after`."""

    partition: Partition
    first: int
    after: int
    assignment: int


@dataclass(slots=True)
class _Held(Generic[Partition]):
    """What is known of a partition that is held."""

    assignment: int
    position: int | None
    committed: int | None
    committable: int | None = None
    queue: deque[Ticket[Partition]] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)
    started: set[int] = field(default_factory=set)


class OffsetLedger(Generic[Partition]):
    """Runs fetched, started and done, per partition that is held."""

    def __init__(self) -> None:
        self._held: dict[Partition, _Held[Partition]] = {}
        self._assignments = 0

    def assign(self, partition: Partition, position: int | None) -> None:
        """Begin with `partition` at offset `position` (None: not known until the first fetch).

        Also for a seek: what was fetched before is forgotten.
        """
        self._assignments += 1
        self._held[partition] = _Held(self._assignments, position, position)

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Forget `partitions`; their tickets are stale from now on."""
        for partition in partitions:
            self._held.pop(partition, None)

    def fetched(self, partition: Partition, first: int, after: int) -> Ticket[Partition] | None:
        """Take a run into the books; None when it is not ours to process.

        That is when the partition is not held, or the run lies (partly) before the position: a fetch
        that was under way during a seek.
        """
        held = self._held.get(partition)
        if held is None or (held.position is not None and first < held.position) or after <= first:
            return None
        ticket = Ticket(partition, first, after, held.assignment)
        held.position = after
        held.queue.append(ticket)
        return ticket

    def start(self, ticket: Ticket[Partition]) -> bool:
        """Note that work on a run begins; False when it is stale and must be left alone."""
        held = self._current(ticket)
        if held is None:
            return False
        held.started.add(ticket.first)
        return True

    def finish(self, ticket: Ticket[Partition]) -> bool:
        """Note that a run's output is durable; False when the ticket is stale (nothing is noted)."""
        held = self._current(ticket)
        if held is None:
            return False
        held.started.discard(ticket.first)
        held.done.add(ticket.first)
        while held.queue and held.queue[0].first in held.done:
            oldest = held.queue.popleft()
            held.done.discard(oldest.first)
            held.committable = oldest.after
        return True

    def is_stale(self, ticket: Ticket[Partition]) -> bool:
        """Whether the ticket's assignment has ended."""
        return self._current(ticket) is None

    def committable(self) -> dict[Partition, int]:
        """Return the offsets to commit (the next one to read), of partitions where that is news."""
        return {
            partition: held.committable
            for partition, held in self._held.items()
            if held.committable is not None and held.committable != held.committed
        }

    def committed(self, offsets: dict[Partition, int]) -> None:
        """Note that a commit of `offsets` succeeded."""
        for partition, offset in offsets.items():
            held = self._held.get(partition)
            # A commit that returns after the partition was assigned anew says nothing about this assignment.
            if held is not None and held.committable is not None and offset <= held.committable:
                held.committed = offset

    def working(self) -> bool:
        """Whether any run was started and is not finished."""
        return any(held.started for held in self._held.values())

    def unfinished(self) -> int:
        """Return how many runs were fetched and are not finished."""
        return sum(len(held.queue) - len(held.done) for held in self._held.values())

    def _current(self, ticket: Ticket[Partition]) -> _Held[Partition] | None:
        held = self._held.get(ticket.partition)
        return held if held is not None and held.assignment == ticket.assignment else None
