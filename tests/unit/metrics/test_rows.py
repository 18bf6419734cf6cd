"""From message to row."""

import json
from uuid import uuid5

import pytest

from services.metrics.rows import COLUMNS, BadRecord, Event, columns, deletion, read, read_one
from shared.dead_letters import DeadReason
from shared.events import MAX_MENTION_BYTES, NAMESPACE
from tests.unit.metrics.events import PUBLISHED, RECEIVED, event, message, record

EPOCH_PUBLISHED_MS = int(PUBLISHED.timestamp()) * 1_000
EPOCH_RECEIVED_US = int(RECEIVED.timestamp()) * 1_000_000


def test_a_message_becomes_a_row_in_the_order_of_the_columns() -> None:
    value = message(
        "a",
        brand="Acme Zorg",
        author={"name": "Jan", "handle": "@jan"},
        url="https://x.example/1",
        published_at="2026-09-01T02:00:00.123456+02:00",
        received_at="2026-10-01T00:00:00.000001Z",
        rating=2.5,
        metadata={"a": [1, "é"]},
        topics=["salaris"],
        hashtags=["fail"],
        fail_terms=["niets gehoord"],
        other_brands=["Beta Bouw"],
        kind="review",
        conversation_id="c",
        in_reply_to="r",
    )
    assert dict(zip(COLUMNS, event(value).row, strict=True)) == {
        "id": uuid5(NAMESPACE, "a"),
        "version": EPOCH_RECEIVED_US + 1,
        "is_deleted": 0,
        "brand": "Acme Zorg",
        "published_at": EPOCH_PUBLISHED_MS + 123,
        "received_at": EPOCH_RECEIVED_US + 1,
        "source": "linkedin",
        "external_id": "a",
        "kind": "review",
        "language": "nl",
        "stage": "silence",
        "sentiment": -0.5,
        "sentiment_label": "negative",
        "author_kind": "other",
        "sentiment_unsure": False,
        "confidence": 0.75,
        "is_fail": True,
        "is_question": False,
        "fail_terms": ("niets gehoord",),
        "topics": ("salaris",),
        "hashtags": ("fail",),
        "other_brands": ("Beta Bouw",),
        "author_name": "Jan",
        "author_handle": "@jan",
        "text": "Nog niets gehoord, a 0",
        "url": "https://x.example/1",
        "in_reply_to": "r",
        "conversation_id": "c",
        "rating": 2.5,
        "rating_scale": 5.0,
        "metadata": '{"a":[1,"é"]}',
        "model": "test 1",
    }


def test_what_is_absent_is_an_empty_string() -> None:
    row = dict(zip(COLUMNS, event(message(external_id=None)).row, strict=True))
    absent = (
        "external_id",
        "author_name",
        "author_handle",
        "url",
        "in_reply_to",
        "conversation_id",
        "metadata",
    )
    assert {name: row[name] for name in absent} == dict.fromkeys(absent, "")
    assert row["rating"] is None


def test_fields_of_a_newer_producer_are_ignored() -> None:
    assert event(message(mood="grumpy", schema_version=2)).row == event(message()).row


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, DeadReason.UNDECODABLE, "EOF"),
        (b"", DeadReason.UNDECODABLE, "EOF"),
        (b"{", DeadReason.UNDECODABLE, "EOF"),
        (b"\xff\xfe", DeadReason.UNDECODABLE, ""),
        (b'{"text": "\\ud800"}', DeadReason.UNDECODABLE, "hex escape"),
        (b"[]", DeadReason.SCHEMA, "message: "),
        (b"null", DeadReason.SCHEMA, "message: "),
        (message(sentiment=2), DeadReason.SCHEMA, "sentiment: "),
        (message(language="fr"), DeadReason.SCHEMA, "language: "),
        (message(id="nope"), DeadReason.SCHEMA, "id: "),
        (message(author={"name": ""}), DeadReason.SCHEMA, "author.name: "),
        (message(published_at="2026-09-01T00:00:00"), DeadReason.SCHEMA, "published_at: "),
        (message(published_at="1999-12-31T23:59:59Z"), DeadReason.SCHEMA, "published_at: "),
        (message(received_at="2100-01-01T00:00:00Z"), DeadReason.SCHEMA, "received_at: "),
        (message(rating=float("inf")), DeadReason.SCHEMA, "rating: "),
        (message(rating_scale=float("nan")), DeadReason.SCHEMA, "rating_scale: "),
        (message(sentiment=float("nan")), DeadReason.SCHEMA, "sentiment: "),
        (message(text="x" * 1_048_576), DeadReason.TOO_LARGE, "at most 1,048,576 are stored"),
    ],
)
def test_a_bad_message_is_told_apart_with_its_reason(
    value: bytes | None, reason: DeadReason, detail: str
) -> None:
    outcome = read_one(record(value))
    assert isinstance(outcome, BadRecord)
    assert outcome.reason is reason
    assert detail in outcome.detail


def test_each_message_is_either_good_or_bad() -> None:
    records = [record(message("a"), 1), record(b"{", 2), record(message("b"), 3), record(b"[]", 4)]
    events, bad = read(records)
    assert [event.record.offset for event in events] == [1, 3]
    assert [(one.record.offset, one.reason) for one in bad] == [
        (2, DeadReason.UNDECODABLE),
        (4, DeadReason.SCHEMA),
    ]


def test_the_largest_mention_that_may_come_in_can_be_stored() -> None:
    text = "\u0001" * ((MAX_MENTION_BYTES - 2_000) // 6)
    value = message(text=text)
    assert MAX_MENTION_BYTES - 2_000 < len(value) < MAX_MENTION_BYTES
    assert isinstance(read_one(record(value)), Event)


def test_a_deletion_has_the_key_and_version_and_says_nothing() -> None:
    position = event(message("a", version=3)).position
    row = dict(zip(COLUMNS, deletion(position), strict=True))
    assert (row["id"], row["version"], row["brand"], row["published_at"], row["is_deleted"]) == (
        position.id, position.version, position.brand, position.published_ms, 1,
    )  # fmt: skip
    assert row["text"] == row["author_name"] == row["metadata"] == ""


def test_rows_become_columns() -> None:
    rows = [event(message("a")).row, deletion(event(message("b")).position)]
    turned = columns(rows)
    assert len(turned) == len(COLUMNS)
    assert turned[COLUMNS.index("is_deleted")] == (0, 1)
    assert json.loads(message("a"))["text"] in turned[COLUMNS.index("text")]
