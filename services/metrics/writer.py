"""Brings a batch of events into the store, whole or not at all, as often as need be. No Kafka, no clock.

Whatever was written of a batch before a crash or an outage, writing it again completes it: places are noted
first, rows second, and the hours they count in are for the caller to have recounted before it commits.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from services.metrics.positions import Hour, Resolution, newest, resolve
from services.metrics.rows import BadRecord, Event, Position, Row, deletion
from shared.correction_events import Correction
from shared.dead_letters import DeadReason
from shared.errors import KlankbordError


class RowsRefused(KlankbordError):
    """ClickHouse refused rows for what is in them; trying again will not help."""


class Store(Protocol):
    """Where mentions are kept (services/metrics/store.py).

    Each method raises DependencyUnavailable during an outage, and may then have done its work in part.
    """

    def note_places(self, positions: Sequence[Position]) -> Mapping[UUID, Sequence[Position]]:
        """Note where mentions are about to stand; return all positions of those that stood elsewhere too."""
        ...

    def insert(self, rows: Sequence[Row], token: str) -> None:
        """Insert rows of `mentions`; a second time with the same token does nothing. Raises RowsRefused."""
        ...

    def correct(self, corrections: Sequence[Correction]) -> Sequence[Hour]:
        """Store corrections; return the hours whose counts change with them."""
        ...

    def recount(self, hours: Iterable[Hour]) -> None:
        """Count `hours` anew from the mentions that are shown, and replace the rollup's figures."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    rows: int = 0
    stale: int = 0
    hours: frozenset[Hour] = frozenset()
    refused: tuple[BadRecord, ...] = ()

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.rows + other.rows,
            self.stale + other.stale,
            self.hours | other.hours,
            self.refused + other.refused,
        )


def write(events: Sequence[Event], store: Store) -> Written:
    """Write `events`; those that the store refuses for what is in them are told apart, the rest is in.

    Raises DependencyUnavailable during an outage: then write the same again.
    """
    chosen = newest(events)
    if not chosen:
        return Written()
    contested = store.note_places([event.position for event in chosen])
    return _insert(chosen, contested, store)


def _insert(events: Sequence[Event], contested: Mapping[UUID, Sequence[Position]], store: Store) -> Written:
    resolution = resolve(events, contested)
    rows = [event.row for event in resolution.shown] + [deletion(p) for p in resolution.hidden]
    try:
        store.insert(rows, deduplication_token(resolution))
    except RowsRefused as error:
        if len(events) == 1:
            return Written(refused=(BadRecord(events[0].record, DeadReason.REFUSED_BY_STORE, str(error)),))
        middle = len(events) // 2
        return _insert(events[:middle], contested, store) + _insert(events[middle:], contested, store)
    return Written(len(resolution.shown), resolution.stale, resolution.hours)


def deduplication_token(resolution: Resolution) -> str:
    """Return the token of an insert: topic, partitions and offsets, and a digest of what is inserted.

    ClickHouse drops an insert whose token it knows, whatever is in it. Offsets alone do not tell: a replay
    may have more to hide than the first attempt had, and a topic made anew starts at offset 0 again.
    """
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for event in resolution.shown:
        offsets[event.record.topic, event.record.partition].append(event.record.offset)
    digest = hashlib.blake2b(b"".join([event.row for event in resolution.shown]), digest_size=16)
    for hidden in resolution.hidden:
        digest.update(repr(hidden).encode())
    ranges = [f"{topic}/{n}:{min(seen)}-{max(seen)}" for (topic, n), seen in sorted(offsets.items())]
    return "#".join([",".join(ranges), digest.hexdigest()])
