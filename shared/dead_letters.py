"""Dead letters: messages that cannot be processed go to mentions.dead, with why, and where they came from.

A dead letter's key and value are the original bytes; what is known of it stands in its headers (UTF-8):

    reason      one of DeadReason
    service     the service that put it aside
    detail      what was wrong, for a person; at most MAX_DETAIL characters
    topic, partition, offset, timestamp    the original's; timestamp in milliseconds since 1970
    truncated   only when the original no longer fits a message: its size in bytes; the value is its beginning
"""

from enum import StrEnum

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError

from shared.topics import Topic

MAX_DETAIL = 500
TRUNCATED_BYTES = 262_144


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
    ]


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
