"""Cursors survive the way to the caller and back, and fit only the query that they came from."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.cursor import Cursor, InvalidCursor, decode_cursor, encode_cursor
from services.api.selection import BEGINNING, END_OF_TIME, Filters

FILTERS = Filters(BEGINNING, END_OF_TIME, brands=("Acme",))
CURSOR = Cursor(datetime(2026, 3, 29, 1, 0, 0, 123_000, tzinfo=UTC), UUID(int=7))


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_round_trip(published_at: datetime, mention_id: UUID) -> None:
    cursor = Cursor(published_at, mention_id)
    text = encode_cursor(cursor, FILTERS)
    assert decode_cursor(text, FILTERS) == cursor
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "other",
    [
        replace(FILTERS, brands=("Acme", "Beta")),
        replace(FILTERS, brands=(), sources=("Acme",)),
        replace(FILTERS, fails=True),
        replace(FILTERS, questions=True),
        replace(FILTERS, text="Acme"),
        replace(FILTERS, end=END_OF_TIME - timedelta(microseconds=1)),
    ],
)
def test_a_cursor_of_another_query_is_refused(other: Filters) -> None:
    with pytest.raises(InvalidCursor, match="belongs to another query"):
        decode_cursor(encode_cursor(CURSOR, FILTERS), other)


def test_an_altered_place_is_refused() -> None:
    text = encode_cursor(CURSOR, FILTERS)
    published_at, _, digest = json.loads(base64.urlsafe_b64decode(text + "=="))
    forged = json.dumps([published_at, str(UUID(int=8)), digest]).encode()
    with pytest.raises(InvalidCursor, match="belongs to another query"):
        decode_cursor(base64.urlsafe_b64encode(forged).decode(), FILTERS)


def encoded(payload: str) -> str:
    return base64.urlsafe_b64encode(payload.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "não",
        "!!!!",
        encoded("[]"),
        encoded("7"),
        encoded("null"),
        encoded('["2026-03-29", 7, "x"]'),
        encoded('[7, "00000000-0000-0000-0000-000000000007", "x"]'),
        encoded('["gisteren", "00000000-0000-0000-0000-000000000007", "x"]'),
        encoded("[" * 400),
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor, match="is not a cursor"):
        decode_cursor(text, FILTERS)


@given(st.text(max_size=200))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(text, FILTERS)
