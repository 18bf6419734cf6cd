"""From a message on mentions.enriched to a row of `mentions`, or to why it cannot be one. Pure.

A row is a line of JSON for ClickHouse to read (JSONEachRow). Of a message as our worker writes it the line
is the message itself with what it has not: it is only looked over here, by a decoder that does nothing else.
What that does not take is read at leisure, by the event's own model: it is either another way to write the
same, or a bad message, whose reason the model tells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord
from msgspec import DecodeError, Meta, Raw, Struct
from msgspec.json import Decoder
from pydantic import ValidationError
from pydantic_core import to_json

from shared.correction_events import Correction
from shared.dead_letters import DeadReason
from shared.events import (
    EARLIEST,
    MAX_METADATA_BYTES,
    Author,
    AuthorKind,
    EnrichedMention,
    Kind,
    Language,
    SentimentLabel,
    Stage,
)

MAX_EVENT_BYTES = 1_048_576
"""A mention is at most 256 KiB when it comes in; its labels do not make it four times that."""
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""An hour of the rollup is a 32-bit DateTime, which ends in 2106; 100 partitions fit one insert."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LARGEST = 1e38
"""Columns of 32-bit floats hold no more."""
MICROSECOND = timedelta(microseconds=1)

_Share = Annotated[float, Meta(ge=-1, le=1)]
_Number = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]

COLUMNS = (
    "id", "version", "is_deleted", "brand", "published_at", "received_at", "source", "external_id", "kind",
    "language", "stage", "author_kind", "sentiment", "sentiment_label",
    "confidence", "sentiment_unsure", "is_fail", "is_question", "fail_terms",
    "topics", "hashtags", "other_brands", "author_name", "author_handle", "text", "url", "in_reply_to",
    "conversation_id", "rating", "rating_scale", "metadata", "model",
)  # fmt: skip
"""What a row can have."""

Row = bytes
"""A line of JSON: each of COLUMNS, or what has its default is left out. What else is in it is skipped."""


class Position(NamedTuple):
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


class Event(NamedTuple):
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
    if (event := _glanced(record, value)) is not None:
        return event
    try:
        mention = EnrichedMention.model_validate_json(value)
    except ValidationError as error:
        return _unreadable(record, error)
    if problem := _out_of_range(mention):
        return BadRecord(record, DeadReason.SCHEMA, problem)
    position = _position(mention.id, mention.brand, mention.published_at, mention.received_at)
    return Event(record, position, _row(mention, position))


def _position(id: UUID, brand: str, published_at: datetime, received_at: datetime) -> Position:
    return Position(id, (received_at - EPOCH) // MICROSECOND, brand, (published_at - EPOCH) // _MILLISECOND)


def deletion(position: Position) -> Row:
    """Return the row that hides what stands at `position` with that version or a lower one."""
    p = position
    return to_json(
        {
            "id": p.id,
            "version": p.version,
            "is_deleted": 1,
            "brand": p.brand,
            "published_at": EPOCH + p.published_ms * _MILLISECOND,
            "received_at": EPOCH + p.version * MICROSECOND,
        }
    )


def columns(rows: Sequence[tuple[Any, ...]]) -> list[Sequence[Any]]:
    """Return `rows` (at least one) turned into one sequence of values per column."""
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


class _Glance(Struct, gc=False):
    """What must be so of an event for ClickHouse to read it as it is: stricter than EnrichedMention is.

    Also what was optional in earlier versions must be there: the model knows what its absence means.
    """

    id: UUID
    source: str
    brand: str
    text: str
    published_at: str
    received_at: str
    kind: Kind
    language: Language
    sentiment: _Share
    sentiment_label: SentimentLabel
    confidence: Annotated[float, Meta(ge=0, le=1)]
    sentiment_unsure: bool
    is_fail: bool
    fail_terms: list[str]
    is_question: bool
    topics: list[str]
    stage: Stage
    author_kind: AuthorKind
    hashtags: list[str]
    other_brands: list[str]
    model: str
    metadata: Raw
    rating_scale: _Number
    rating: _Number | None = None
    author: Raw = Raw(b"null")
    external_id: str | None = None
    url: str | None = None
    language_hint: str | None = None
    in_reply_to: str | None = None
    conversation_id: str | None = None
    schema_version: int = 1


_glance = Decoder(_Glance).decode
_NO_AUTHOR = (b"null", b'{"name":null,"handle":null}')


def _glanced(record: ConsumerRecord, value: bytes) -> Event | None:
    """Return the event of a message that is written as our worker writes it, else None."""
    try:
        seen = _glance(value)
    except (DecodeError, RecursionError):
        return None
    published, received = _moment(seen.published_at), _moment(seen.received_at)
    plain = value[:1] == b"{" and value[-1:] == b"}" and _is_small_object(bytes(seen.metadata))
    if published is None or received is None or not plain:
        return None
    position = _position(seen.id, seen.brand, published, received)
    # Put last: where one of these keys stands in the message too, ClickHouse refuses the row.
    known = b',"version":%d,"is_deleted":0' % position.version
    if (text := bytes(seen.author)) not in _NO_AUTHOR:
        try:
            author = Author.model_validate_json(text)
        except ValidationError:
            return None
        known += b',"author_name":%b,"author_handle":%b' % (
            to_json(author.name or ""),
            to_json(author.handle or ""),
        )
    return Event(record, position, value[:-1] + known + b"}")


def _is_small_object(text: bytes) -> bool:
    """Whether it is an object as ingest lets through, and not deep."""
    return (
        text[:1] == b"{" and len(text) <= MAX_METADATA_BYTES and text.count(b"{") + text.count(b"[") <= _DEEP
    )


_LENGTHS = frozenset({20, 24, 25, 27, 29, 32})
_DEEP = 100


def _moment(text: str) -> datetime | None:
    """Return an RFC 3339 time of seconds, milliseconds or microseconds that can be stored, else None."""
    if len(text) not in _LENGTHS or text[10] != "T":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if _outside("", moment) is None else None


def _row(mention: EnrichedMention, position: Position) -> Row:
    """Return the row of an event that is written in another way than ours."""
    m, author = mention, mention.author or Author()
    row = {name: getattr(m, name, None) for name in COLUMNS}
    row |= {
        "version": position.version,
        "is_deleted": 0,
        "published_at": EPOCH + position.published_ms * _MILLISECOND,
        "received_at": EPOCH + position.version * MICROSECOND,
        "author_name": author.name,
        "author_handle": author.handle,
    }
    return to_json({name: value for name, value in row.items() if value is not None})


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
        if number is not None and abs(number) > _LARGEST:
            return f"{name}: {number:g} is too large to be stored"
    return None


def _outside(name: str, moment: datetime) -> str | None:
    """Say why a moment, the value of `name`, cannot be stored."""
    if moment.tzinfo is None:
        return f"{name}: {moment.isoformat()} has no UTC offset"
    if not EARLIEST <= moment < LATEST:
        return f"{name}: {moment.isoformat()} is not within {EARLIEST.year} to {LATEST.year - 1}"
    return None
