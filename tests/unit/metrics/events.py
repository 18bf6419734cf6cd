"""Messages of mentions.enriched, and a store in memory that merges rows as ClickHouse does."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from aiokafka import ConsumerRecord

from services.metrics.positions import HOUR_MS, Hour
from services.metrics.rows import COLUMNS, Event, Position, Row, read_one
from services.metrics.writer import RowsRefused
from shared.correction_events import Correction
from shared.errors import DependencyUnavailable
from shared.events import NAMESPACE

RECEIVED = datetime(2026, 10, 1, tzinfo=UTC)
PUBLISHED = datetime(2026, 9, 1, tzinfo=UTC)


def message(
    name: str = "a", version: int = 0, brand: str = "Acme Zorg", hour: int = 0, **other: Any
) -> bytes:
    """Return the bytes of an enriched mention; `version` counts seconds, `hour` hours."""
    fields = {
        "source": "linkedin",
        "external_id": name,
        "id": str(uuid5(NAMESPACE, name)),
        "brand": brand,
        "text": f"Nog niets gehoord, {name} {version}",
        "published_at": (PUBLISHED + timedelta(hours=hour)).isoformat(),
        "received_at": (RECEIVED + timedelta(seconds=version)).isoformat(),
        "language": "nl",
        "sentiment": -0.5,
        "sentiment_label": "negative",
        "confidence": 0.75,
        "is_fail": True,
        "is_question": False,
        "stage": "silence",
        "model": "test 1",
    }
    return json.dumps(fields | other).encode()


def record(value: bytes | None, offset: int = 0, partition: int = 0) -> ConsumerRecord[Any, Any]:
    """Return `value` as it comes out of Kafka."""
    return ConsumerRecord(
        topic="mentions.enriched",
        partition=partition,
        offset=offset,
        timestamp=1_790_000_000_000,
        timestamp_type=0,
        key=b"key",
        value=value,
        checksum=None,
        serialized_key_size=3,
        serialized_value_size=len(value or b""),
        headers=(),
    )


def event(value: bytes, offset: int = 0, partition: int = 0) -> Event:
    """Return the event in `value`, which must be a good one."""
    outcome = read_one(record(value, offset, partition))
    assert isinstance(outcome, Event), outcome
    return outcome


def column(row: Row, name: str) -> Any:
    """Return the value of one column of a row, as JSON has it; what is left out is ''."""
    assert name in COLUMNS
    return json.loads(row).get(name, "")


class MemoryStore:
    """A `writer.Store` in memory. `crash_after`: how many calls succeed before one is lost half-way."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.positions: list[Position] = []
        self.tokens: set[str] = set()
        self.rollup: dict[Hour, int] = {}
        self.crash_after: int | None = None
        self.refused_texts: set[str] = set()

    def note_places(self, positions: Sequence[Position]) -> Mapping[UUID, Sequence[Position]]:
        """As Store says; a crash comes after half of them were noted."""
        self.positions += positions[: len(positions) // 2]
        self._crash()
        self.positions += positions[len(positions) // 2 :]
        contested = {}
        for mention in {position.id for position in positions}:
            places: dict[tuple[str, int], Position] = {}
            for known in sorted((p for p in self.positions if p.id == mention), key=lambda p: p.version):
                places[known.place] = known
            if len(places) > 1:
                contested[mention] = list(places.values())
        return contested

    def insert(self, rows: Sequence[Row], token: str) -> None:
        """As Store says; a crash comes after the first years' parts are in, as in ClickHouse."""
        if self.refused_texts & {column(row, "text") for row in rows}:
            raise RowsRefused("a text that is refused")
        if token in self.tokens:
            return
        self.rows += rows[: len(rows) // 2]
        self._crash()
        self.rows += rows[len(rows) // 2 :]
        self.tokens.add(token)

    def correct(self, corrections: Sequence[Correction]) -> list[Hour]:
        raise NotImplementedError("corrections are tested on the real engine")

    def recount(self, hours: Iterable[Hour]) -> None:
        """As Store says."""
        self._crash()
        counts = Counter(_hour(row) for row in self.shown())
        self.rollup |= {hour: counts[hour] for hour in hours}

    def shown(self) -> list[Row]:
        """Return what `mentions FINAL` would: per sort key the highest version, the later of equals."""
        last: dict[tuple[Any, ...], Row] = {}
        for row in self.rows:
            published_at = datetime.fromisoformat(column(row, "published_at"))
            key = (column(row, "brand"), published_at, column(row, "id"))
            if key not in last or column(last[key], "version") <= column(row, "version"):
                last[key] = row
        return [row for row in last.values() if not column(row, "is_deleted")]

    def recounted(self) -> dict[Hour, int]:
        """Return what the rollup has to say."""
        return dict(Counter(_hour(row) for row in self.shown()))

    def _crash(self) -> None:
        if self.crash_after is None:
            return
        if self.crash_after == 0:
            self.crash_after = None
            raise DependencyUnavailable("ClickHouse", "crashed by the test")
        self.crash_after -= 1


def _hour(row: Row) -> Hour:
    published_ms = int(datetime.fromisoformat(column(row, "published_at")).timestamp() * 1000)
    return Hour(column(row, "brand"), published_ms - published_ms % HOUR_MS)
