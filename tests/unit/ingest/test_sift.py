"""Telling accepted from refused, line by line."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.sift import MAX_FIELD, MAX_REASON, parse_array, sift_items, sift_lines, sift_object
from shared.errors import InvalidMention

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {"source": "test", "text": "ja", "published_at": "2026-11-20T10:00:00Z"}
LINE = json.dumps(GOOD).encode()


def test_lines_keep_their_numbers() -> None:
    sifted = sift_lines([b"", LINE, None, b" \r", b"{}", LINE + b"\r"], 11, NOW)
    assert [(one.place, one.field, one.code) for one in sifted.rejected] == [
        (13, "", "too_large"),
        (15, "source", "missing"),
    ]
    assert [mention.text for mention in sifted.accepted] == ["ja", "ja"]


def test_items_keep_their_indexes() -> None:
    sifted = sift_items([GOOD, "x", GOOD | {"kind": "poem"}], 500, NOW)
    assert [(one.place, one.field, one.code) for one in sifted.rejected] == [
        (501, "", "not_an_object"),
        (502, "kind", "invalid"),
    ]
    assert len(sifted.accepted) == 1


def test_an_object_is_index_0() -> None:
    (one,) = sift_object(json.dumps(GOOD | {"published_at": "2026-11-23T10:00:00Z"}).encode(), NOW).rejected
    assert (one.place, one.field, one.code) == (0, "published_at", "in_future")


@given(st.lists(st.one_of(st.just(GOOD), st.integers(), st.text(), st.dictionaries(st.text(), st.text()))))
def test_an_array_and_its_lines_give_the_same(items: list[Any]) -> None:
    as_items = sift_items(parse_array(json.dumps(items).encode()), 0, NOW)
    as_lines = sift_lines([json.dumps(item).encode() for item in items], 0, NOW)
    assert as_items.accepted == as_lines.accepted
    assert [(one.place, one.code) for one in as_items.rejected] == [
        (one.place, one.code) for one in as_lines.rejected
    ]
    assert len(as_items.accepted) + len(as_items.rejected) == len(items)


def test_surrogates_are_repaired_wherever_they_stand() -> None:
    body = rb'[{"\ud800": "\udc00"}, "\\ud800", "\ud83d\ude00", 1]'
    assert parse_array(body) == [{"\ufffd": "\ufffd"}, "\\ud800", "😀", 1]


@pytest.mark.parametrize("body", [b"[1,", b"[1] 2", b"[\xff]", b"[" * 999])
def test_an_array_that_is_not_json(body: bytes) -> None:
    with pytest.raises(InvalidMention, match="is not JSON: .* line 1 column") as caught:
        parse_array(body)
    assert caught.value.code == "not_json"


def test_what_a_sender_is_told_back_is_bounded() -> None:
    line = json.dumps(GOOD | {"x" * 10_000: 1}).encode()
    (one,) = sift_lines([line], 1, NOW).rejected
    assert (len(one.field), one.field[-1]) == (MAX_FIELD, "…")
    assert len(one.reason) <= MAX_REASON
    assert one.size < 1_000
