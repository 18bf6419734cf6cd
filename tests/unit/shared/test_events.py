"""What is a mention, and what is said of one that is not."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidMention
from shared.events import (
    MAX_MENTION_BYTES,
    MAX_TEXT,
    Mention,
    RawMention,
    RejectionCode,
    parse_mention,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEAST = {"source": "x", "text": "hoi", "published_at": "2026-02-01T10:00:00+01:00"}


def parse(**changes: Any) -> Mention:
    return parse_mention(json.dumps(LEAST | changes), NOW)


def refused(**changes: Any) -> InvalidMention:
    with pytest.raises(InvalidMention) as caught:
        parse(**changes)
    return caught.value


def test_the_least_mention() -> None:
    mention = parse()
    assert mention.published_at == datetime(2026, 2, 1, 9, tzinfo=UTC)
    assert mention.kind == "post" and mention.brand is None and mention.rating_scale == 5


def test_all_fields() -> None:
    given_fields: dict[str, Any] = {
        "external_id": "1",
        "brand": "Acme",
        "author": {"name": "Jo", "handle": "@jo"},
        "url": "https://example.org/1",
        "language_hint": "nl",
        "in_reply_to": "0",
        "conversation_id": "c",
        "kind": "review",
        "rating": 8,
        "rating_scale": 10,
        "metadata": {"team": "north", "n": [1, {"a": None}]},
    }
    mention = parse(**given_fields)
    dumped = json.loads(mention.model_dump_json())
    assert {name: dumped[name] for name in given_fields} == given_fields


@pytest.mark.parametrize(
    ("changes", "field", "code", "hint"),
    [
        ({"published_at": "2026-02-01T10:00:00"}, "published_at", "invalid", "offset"),
        ({"published_at": "2026-02-01"}, "published_at", "invalid", "RFC 3339"),
        ({"published_at": 1_770_000_000}, "published_at", "invalid", "RFC 3339"),
        ({"published_at": "2026-02-30T10:00:00Z"}, "published_at", "invalid", ""),
        ({"published_at": "2026-03-02T12:00:01Z"}, "published_at", "in_future", "clock"),
        ({"published_at": "1970-01-01T00:00:00Z"}, "published_at", "too_old", "empty date"),
        ({"published_at": None}, "published_at", "invalid", ""),
        ({"text": "x" * (MAX_TEXT + 1)}, "text", "invalid", "20,001"),
        ({"text": "<p> </p>"}, "text", "invalid", "empty"),
        ({"text": 5}, "text", "invalid", "string"),
        ({"source": ""}, "source", "invalid", ""),
        ({"source": "x" * 65}, "source", "invalid", "64"),
        ({"kind": "tweet"}, "kind", "invalid", "review"),
        ({"rating": 6}, "rating", "invalid", "rating_scale 5"),
        ({"rating": -1}, "rating", "invalid", ""),
        ({"url": "javascript:alert(1)"}, "url", "invalid", "https?"),
        ({"metadata": {str(i): i for i in range(51)}}, "metadata", "invalid", "51 keys"),
        ({"metadata": {"a": "x" * 9_000}}, "metadata", "invalid", "bytes"),
        ({"metadata": [1]}, "metadata", "invalid", "object"),
        ({"author": {"nme": "x"}}, "author.nme", "unknown_field", ""),
        ({"publised_at": "x"}, "publised_at", "unknown_field", "did you mean published_at"),
        ({"colour": "red"}, "colour", "unknown_field", "metadata"),
    ],
)
def test_a_refusal_names_field_code_and_what_to_do(
    changes: dict[str, Any], field: str, code: str, hint: str
) -> None:
    error = refused(**changes)
    assert (error.field, error.code) == (field, code)
    assert hint in error.reason


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidMention, match="text: is required"):
        parse_mention({"source": "x", "published_at": LEAST["published_at"]}, NOW)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", RejectionCode.NOT_JSON),
        (b"", RejectionCode.NOT_JSON),
        (b'{"a": NaN}', RejectionCode.MISSING),
        (b"[1]", RejectionCode.NOT_AN_OBJECT),
        (b"null", RejectionCode.NOT_AN_OBJECT),
        (b'{"text": "caf\xe9"}', RejectionCode.NOT_JSON),
        (b'{"metadata": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}", RejectionCode.NOT_JSON),
        (b" " * (MAX_MENTION_BYTES + 1), RejectionCode.TOO_LARGE),
    ],
)
def test_what_is_no_mention_at_all(data: bytes, code: RejectionCode) -> None:
    with pytest.raises(InvalidMention) as caught:
        parse_mention(data, NOW)
    assert caught.value.code == code


def test_lone_surrogates_are_replaced_and_escaped_backslashes_are_not() -> None:
    line = json.dumps(LEAST)[:-1] + r', "brand": "a \\ud800 b \ud83d\ude00 \udc00"}'
    assert parse_mention(line.encode(), NOW).brand == "a \\ud800 b \U0001f600 \ufffd"


@pytest.mark.parametrize("name", ["language", "language_hint"])
@pytest.mark.parametrize("tag", ["nl", "NL", "nl-BE", "nl_NL", " nl "])
def test_a_language_tag_is_reduced_to_its_language(name: str, tag: str) -> None:
    assert parse(**{name: tag}).language_hint == "nl"


def test_an_author_may_be_a_string() -> None:
    assert parse(author="@jo").author == parse(author={"handle": "@jo"}).author
    assert parse(author="Jo").author == parse(author={"name": "Jo"}).author


def test_empty_strings_of_optional_fields_mean_absent() -> None:
    assert parse(external_id="", brand="", url="", author="", rating="") == parse()


def test_the_id_hangs_on_source_and_external_id_alone() -> None:
    assert parse(external_id="1").id == parse(external_id="1", text="edited", brand="B").id
    assert parse(external_id="1").id != parse(external_id="2").id
    assert parse(source="a", external_id="bc").id != parse(source="ab", external_id="c").id


def test_the_id_never_changes_between_releases() -> None:
    assert parse(external_id="1").id == UUID("d67388dc-a32f-5f29-be6e-6a996dcb0ac6")
    assert parse().id == UUID("45071392-e76e-5726-9f06-7bf43deec8ae")


def test_without_an_external_id_the_content_decides() -> None:
    assert parse().id == parse(metadata={"a": 1}, rating=3).id
    for changes in ({"text": "hallo"}, {"author": "Jo"}, {"published_at": "2026-02-01T10:00:01+01:00"}):
        assert parse(**changes).id != parse().id
    assert parse(published_at="2026-02-01T09:00:00Z").id == parse().id


def test_an_event_comes_back_as_it_went() -> None:
    event = RawMention.of(parse(external_id="1", author="@jo", metadata={"a": [1]}), NOW)
    assert RawMention.model_validate_json(event.model_dump_json()) == event


def test_an_event_of_a_newer_producer_is_read() -> None:
    event = RawMention.of(parse(), NOW)
    newer = json.loads(event.model_dump_json()) | {"schema_version": 99, "invented_later": {"a": 1}}
    read = RawMention.model_validate_json(json.dumps(newer))
    assert read.id == event.id and read.schema_version == 99


def test_the_key_keeps_a_conversation_together() -> None:
    assert RawMention.of(parse(conversation_id="c", external_id="1"), NOW).key == b"c"
    lonely = RawMention.of(parse(external_id="1"), NOW)
    assert lonely.key == str(lonely.id).encode()


@given(st.text(max_size=200), st.integers(-80_000, 80_000))
def test_any_text_and_time_is_taken_or_refused_with_a_reason(text: str, seconds: int) -> None:
    at = (NOW + timedelta(days=0.5, seconds=seconds)).isoformat()
    try:
        mention = parse(text=text, published_at=at)
    except InvalidMention as error:
        assert error.field in {"text", "published_at"} and error.reason
    else:
        assert mention.id == parse_mention(json.dumps(LEAST | {"text": text, "published_at": at}), NOW).id
