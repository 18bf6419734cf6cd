"""From message to row."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics.rows import COLUMNS, BadRecord, Event, Row, columns, deletion, read, read_one
from shared.dead_letters import DeadReason
from shared.events import MAX_MENTION_BYTES, NAMESPACE, EnrichedMention
from tests.unit.metrics.events import RECEIVED, event, message, record

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
    assert json.loads(event(value).row) == {
        "id": str(uuid5(NAMESPACE, "a")),
        "version": EPOCH_RECEIVED_US + 1,
        "is_deleted": 0,
        "brand": "Acme Zorg",
        "published_at": "2026-09-01T00:00:00.123000Z",
        "received_at": "2026-10-01T00:00:00.000001Z",
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
        "fail_terms": ["niets gehoord"],
        "topics": ["salaris"],
        "hashtags": ["fail"],
        "other_brands": ["Beta Bouw"],
        "author_name": "Jan",
        "author_handle": "@jan",
        "text": "Nog niets gehoord, a 0",
        "url": "https://x.example/1",
        "in_reply_to": "r",
        "conversation_id": "c",
        "rating": 2.5,
        "rating_scale": 5.0,
        "metadata": {"a": [1, "é"]},
        "model": "test 1",
    }


def test_what_is_absent_is_left_out() -> None:
    row = json.loads(event(message(external_id=None)).row)
    absent = {
        "external_id",
        "author_name",
        "author_handle",
        "url",
        "in_reply_to",
        "conversation_id",
        "rating",
    }
    assert not absent & row.keys()
    assert row["metadata"] == {}


def test_fields_of_a_newer_producer_are_ignored() -> None:
    assert stored(event(message(mood="grumpy", schema_version=2)).row) == stored(event(message()).row)


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
    assert json.loads(deletion(position)) == {
        "id": str(position.id),
        "version": position.version,
        "is_deleted": 1,
        "brand": position.brand,
        "published_at": "2026-09-01T00:00:00Z",
        "received_at": "2026-10-01T00:00:03Z",
    }


def as_written(**other: Any) -> bytes:
    """Return a message as our worker writes it: each field, in pydantic's own JSON."""
    return EnrichedMention.model_validate_json(message(**other)).model_dump_json().encode()


def modelled(value: bytes) -> Event | BadRecord:
    """Return what the event's model makes of a message: a blank before it is not as the worker writes."""
    return read_one(record(b" " + value))


def stored(row: Row) -> dict[str, Any]:
    """Return what ClickHouse reads of a row: its columns, those with nothing in them at their defaults."""
    found = json.loads(row)
    read = {name: found.get(name) or None for name in COLUMNS}
    for name in ("published_at", "received_at"):
        read[name] = datetime.fromisoformat(found[name]).astimezone(UTC)
    # ClickHouse keeps milliseconds of the one.
    read["published_at"] = read["published_at"].replace(
        microsecond=read["published_at"].microsecond // 1000 * 1000
    )
    return read


def test_a_message_as_the_worker_writes_it_is_the_row_with_what_it_has_not() -> None:
    assert event(value := as_written()).row.startswith(value[:-1])
    value = as_written(author={"name": "Jan", "handle": "@jan"}, rating=4, metadata={"a": 1}, topics=["x"])
    row = event(value).row
    assert row.startswith(value[:-1])
    assert json.loads(row)["author_handle"] == "@jan"


@given(
    changes=st.dictionaries(
        st.sampled_from(sorted({*EnrichedMention.model_fields, "version", "is_deleted", "mood"})),
        st.one_of(
            st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=8),
            st.sampled_from(["nl", "post", "offer", "employer", "neutral", "2026-09-01", "NaN", "1e99",
                             "2026-09-01T00:00:00.123456+02:00", "2026-09-01T00:00:00",
                             "1999-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "2026-09-01T24:00:00Z"]),
            st.lists(st.text(max_size=3), max_size=2),
            st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
            st.fixed_dictionaries({"name": st.one_of(st.none(), st.text(max_size=5))}),
        ),
        max_size=3,
    ),
    left_out=st.sets(st.sampled_from(sorted(EnrichedMention.model_fields)), max_size=2),
)  # fmt: skip
def test_what_is_only_glanced_at_is_what_the_model_says(changes: dict[str, Any], left_out: set[str]) -> None:
    """The quick way takes nothing that the model refuses, and reads nothing in another way."""
    plain = json.loads(as_written())
    fields = {name: value for name, value in (plain | changes).items() if name not in left_out}
    value = json.dumps(fields, separators=(",", ":")).encode()
    quick, slow = read_one(record(value)), modelled(value)
    assert type(quick) is type(slow)
    if isinstance(quick, Event) and isinstance(slow, Event):
        assert quick.position == slow.position
        if not {"version", "is_deleted"} & fields.keys():  # Twice in a row: refused by ClickHouse.
            assert stored(quick.row) == stored(slow.row)
    elif isinstance(quick, BadRecord) and isinstance(slow, BadRecord):
        assert quick.reason is slow.reason


def test_deep_or_large_metadata_is_left_to_the_model() -> None:
    deep = as_written(metadata={"a": 1}).replace(b'{"a":1}', b'{"a":' + b"[" * 150 + b"]" * 150 + b"}")
    assert event(deep).row != deep[:-1]
    assert not event(deep).row.startswith(deep[:-1])


def test_rows_become_columns() -> None:
    assert columns([(1, "a"), (2, "b")]) == [(1, 2), ("a", "b")]
