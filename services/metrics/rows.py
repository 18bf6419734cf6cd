"""From a message on mentions.enriched to a row of `mentions`, or to why it cannot be one. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from pydantic import ValidationError
from pydantic_core import to_json

from shared.correction_events import Correction
from shared.dead_letters import DeadReason
from shared.events import EARLIEST, Author, EnrichedMention

MAX_EVENT_BYTES = 1_048_576
"""A mention is at most 256 KiB when it comes in; its labels do not make it four times that."""
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""An hour of the rollup is a 32-bit DateTime, which ends in 2106; 100 partitions fit one insert."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)

COLUMNS = (
    "id", "version", "is_deleted", "brand", "published_at", "received_at", "source", "external_id", "kind",
    "language", "stage", "author_kind", "sentiment", "sentiment_label",
    "confidence", "sentiment_unsure", "is_fail", "is_question", "fail_terms",
    "topics", "hashtags", "other_brands", "author_name", "author_handle", "text", "url", "in_reply_to",
    "conversation_id", "rating", "rating_scale", "metadata", "model",
)  # fmt: skip
"""The columns of a `Row`, in its order; what is absent is '' in a string column."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a version of a mention stands in `mentions`.

    `version`: when it was received, in microseconds since 1970; the higher one wins.
    `published_ms`: when it was published, in milliseconds since 1970.
    """

    id: UUID
    version: int
    brand: str
    published_ms: int

    @property
    def place(self) -> tuple[str, int]:
        """The sort key of `mentions`, less the id."""
        return self.brand, self.published_ms


@dataclass(frozen=True, slots=True)
class Event:
    """One message that can be stored."""

    record: ConsumerRecord
    position: Position
    row: Row


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One message that cannot be stored, and why."""

    record: ConsumerRecord
    reason: DeadReason
    detail: str


def read(records: Iterable[ConsumerRecord]) -> tuple[list[Event], list[BadRecord]]:
    """Tell the messages that can be stored from those that cannot; each is in one of the two lists."""
    events: list[Event] = []
    bad: list[BadRecord] = []
    for record in records:
        outcome = read_one(record)
        if isinstance(outcome, Event):
            events.append(outcome)
        else:
            bad.append(outcome)
    return events, bad


def read_one(record: ConsumerRecord) -> Event | BadRecord:
    """Return the event in `record`, or why there is none. Raises nothing."""
    value = record.value or b""
    if len(value) > MAX_EVENT_BYTES:
        detail = f"{len(value):,} bytes; at most {MAX_EVENT_BYTES:,} are stored"
        return BadRecord(record, DeadReason.TOO_LARGE, detail)
    try:
        mention = EnrichedMention.model_validate_json(value)
    except ValidationError as error:
        return _unreadable(record, error)
    if problem := _out_of_range(mention):
        return BadRecord(record, DeadReason.SCHEMA, problem)
    position = Position(
        id=mention.id,
        version=(mention.received_at - EPOCH) // MICROSECOND,
        brand=mention.brand,
        published_ms=(mention.published_at - EPOCH) // _MILLISECOND,
    )
    return Event(record, position, _row(mention, position))


def deletion(position: Position) -> Row:
    """Return the row that hides what stands at `position` with that version or a lower one."""
    p = position
    absent = ("",) * 4
    return (
        p.id, p.version, 1, p.brand, p.published_ms, p.version, "", "", "", "", "", "", 0.0, "", 0.0, False,
        False, False, (), (), (), (), *absent, "", "", None, 5.0, "", "",
    )  # fmt: skip


def columns(rows: Sequence[Row]) -> list[Sequence[Any]]:
    """Return `rows` (at least one) turned into one sequence of values per column of COLUMNS."""
    return list(zip(*rows, strict=True))


def read_corrections(
    records: Iterable[ConsumerRecord],
) -> tuple[list[Correction], list[BadRecord]]:
    """Tell the corrections that can be stored from the messages that are none."""
    corrections: list[Correction] = []
    bad: list[BadRecord] = []
    for record in records:
        if record.value is None:
            continue  # A tombstone: somebody had it compacted away.
        try:
            correction = Correction.model_validate_json(record.value)
        except ValidationError as error:
            bad.append(_unreadable(record, error))
            continue
        if problem := _outside("corrected_at", correction.corrected_at):
            bad.append(BadRecord(record, DeadReason.SCHEMA, problem))
        else:
            corrections.append(correction)
    return corrections, bad


def _row(mention: EnrichedMention, position: Position) -> Row:
    m, author = mention, mention.author or Author()
    return (
        position.id, position.version, 0, position.brand, position.published_ms, position.version,
        m.source, m.external_id or "", m.kind.value, m.language.value, m.stage.value,
        m.author_kind.value, m.sentiment, m.sentiment_label.value, m.confidence, m.sentiment_unsure,
        m.is_fail, m.is_question,
        m.fail_terms, m.topics, m.hashtags, m.other_brands, author.name or "", author.handle or "",
        m.text, m.url or "", m.in_reply_to or "", m.conversation_id or "", m.rating, m.rating_scale,
        to_json(m.metadata).decode() if m.metadata else "", m.model,
    )  # fmt: skip


def _unreadable(record: ConsumerRecord, error: ValidationError) -> BadRecord:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return BadRecord(record, DeadReason.UNDECODABLE, first["msg"])
    place = ".".join(str(part) for part in first["loc"]) or "message"
    return BadRecord(record, DeadReason.SCHEMA, f"{place}: {first['msg']}")


def _out_of_range(mention: EnrichedMention) -> str | None:
    """Say what the columns cannot hold, though the event's schema lets it through."""
    for name in ("published_at", "received_at"):
        if problem := _outside(name, getattr(mention, name)):
            return problem
    for name in ("rating", "rating_scale"):
        number: float | None = getattr(mention, name)
        if number is not None and not isfinite(number):
            return f"{name}: {number} is not a finite number"
    return None


def _outside(name: str, moment: datetime) -> str | None:
    if moment.tzinfo is None:
        return f"{name}: {moment.isoformat()} has no UTC offset"
    if not EARLIEST <= moment < LATEST:
        return f"{name}: {moment.isoformat()} is not within {EARLIEST.year} to {LATEST.year - 1}"
    return None
