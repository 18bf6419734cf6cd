"""Dead letters: messages that cannot be processed go to mentions.dead, with why, and where they came from.

A dead letter's key and value are the original bytes; what is known of it stands in its headers (UTF-8):

    reason      one of DeadReason
    service     the service that put it aside
    detail      what was wrong, for a person; at most MAX_DETAIL characters
    topic, partition, offset, timestamp    the original's; timestamp in milliseconds since 1970
    original.*  the original's own headers, as far as they are few and short
    truncated   only when the original no longer fits a message: its size in bytes; the value is its beginning
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError

from shared.topics import Topic

MAX_DETAIL = 500
TRUNCATED_BYTES = 262_144
ORIGINAL = "original."
MAX_ORIGINAL_HEADERS = 20
MAX_ORIGINAL_HEADER_BYTES = 1_024


class DeadReason(StrEnum):
    """Why a message is put aside: a closed set, used as header, metric label and in tests."""

    UNDECODABLE = "undecodable"
    SCHEMA = "schema"
    TOO_LARGE = "too_large"
    ENRICHMENT_ERROR = "enrichment_error"
    REFUSED_BY_STORE = "refused_by_store"


Headers = list[tuple[str, bytes]]


def dead_letter_headers(record: ConsumerRecord, reason: DeadReason, detail: str, service: str) -> Headers:
    """Return the headers of the dead letter for `record`."""
    return [
        ("reason", reason.value.encode()),
        ("service", service.encode()),
        ("detail", detail[:MAX_DETAIL].encode("utf-8", "replace")),
        ("topic", record.topic.encode()),
        ("partition", str(record.partition).encode()),
        ("offset", str(record.offset).encode()),
        ("timestamp", str(record.timestamp).encode()),
        *_original_headers(record.headers),
    ]


def _original_headers(headers: Iterable[tuple[str, bytes]]) -> Headers:
    fitting = [
        (name, value) for name, value in headers if len(name) + len(value) <= MAX_ORIGINAL_HEADER_BYTES
    ]
    return [(ORIGINAL + name, value) for name, value in fitting[:MAX_ORIGINAL_HEADERS]]


@dataclass(frozen=True)
class DeadLetter:
    """A message that was put aside."""

    number: int
    """Its offset in mentions.dead: what it is called by."""
    died_at: datetime
    reason: str
    """One of DeadReason, or what a later version writes."""
    service: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    """The original's own."""
    truncated: int | None
    """Of how many bytes `value` is only the beginning; None: it is whole."""


def dead_letter_of(record: ConsumerRecord) -> DeadLetter:
    """Return the dead letter in a record of mentions.dead; what a foreign writer left out is empty or -1."""
    ours = {name: value for name, value in record.headers if not name.startswith(ORIGINAL)}
    known = {name: value.decode("utf-8", "replace") for name, value in ours.items()}
    return DeadLetter(
        number=record.offset,
        died_at=datetime.fromtimestamp(record.timestamp / 1_000, UTC),
        reason=known.get("reason", ""),
        service=known.get("service", ""),
        detail=known.get("detail", ""),
        topic=known.get("topic", ""),
        partition=_number(known.get("partition"), -1),
        offset=_number(known.get("offset"), -1),
        key=record.key,
        value=record.value or b"",
        headers=_own(record.headers),
        truncated=_number(known["truncated"], 0) if "truncated" in known else None,
    )


def _own(headers: Sequence[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    prefixed = [(name, value) for name, value in headers if name.startswith(ORIGINAL)]
    return tuple((name.removeprefix(ORIGINAL), value) for name, value in prefixed)


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() else otherwise


async def bury(
    producer: AIOKafkaProducer, record: ConsumerRecord, reason: DeadReason, detail: str, service: str
) -> None:
    """Write `record` to mentions.dead; return once Kafka has acknowledged it.

    Raises aiokafka's KafkaError when Kafka has not: an outage, to be waited out. Counting is the caller's.
    """
    headers = dead_letter_headers(record, reason, detail, service)
    try:
        await producer.send_and_wait(Topic.DEAD, record.value, record.key, headers=headers)
    except MessageSizeTooLargeError:
        # The headers made it larger than the broker takes; trying again would block all that follows.
        value = record.value or b""
        headers.append(("truncated", str(len(value)).encode()))
        await producer.send_and_wait(Topic.DEAD, value[:TRUNCATED_BYTES], headers=headers)
