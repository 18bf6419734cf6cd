"""Which column is which field, and how values are written."""

import json
from typing import Any

import pytest

from services.ingest.import_mapping import (
    Dates,
    RowMapping,
    parse_constants,
    parse_dates,
    resolve_columns,
)
from services.ingest.import_rows import ImportProblem, Row, RowProblem
from shared.events import RejectionCode


def mention(values: dict[str, Any], mapping: RowMapping) -> Any:
    made = mapping.mention_of(Row(2, values, values=values))
    assert isinstance(made, bytes)
    return json.loads(made)


def columns(*names: str, mapping: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    return resolve_columns(names, mapping)


def test_a_column_is_the_field_that_its_name_is() -> None:
    assert columns("Source", "EXTERNAL ID", "published-at", "author name", "Author.Handle", "text") == {
        "Source": ("source",),
        "EXTERNAL ID": ("external_id",),
        "published-at": ("published_at",),
        "author name": ("author", "name"),
        "Author.Handle": ("author", "handle"),
        "text": ("text",),
    }


def test_usual_names_stand_for_fields_unless_the_field_itself_is_there() -> None:
    assert columns("id", "datum", "tekst", "taal") == {
        "id": ("external_id",),
        "datum": ("published_at",),
        "tekst": ("text",),
        "taal": ("language_hint",),
    }
    assert columns("id", "external_id", "date", "datum") == {
        "external_id": ("external_id",),
        "id": ("metadata", "id"),
        "date": ("published_at",),
        "datum": ("metadata", "datum"),
    }


def test_the_rest_goes_under_metadata() -> None:
    assert columns("Afdeling", "metadata.team", "metadata") == {
        "Afdeling": ("metadata", "Afdeling"),
        "metadata.team": ("metadata", "team"),
        "metadata": ("metadata", "metadata"),
    }


def test_a_mapping_goes_before_names_and_a_blank_one_leaves_out() -> None:
    given = ("Review=text", "text=", "a=b=metadata.sum", "stars=Rating", "who=author.name")

    assert columns("Review", "text", "a=b", "Stars", "who", mapping=given) == {
        "Review": ("text",),
        "text": (),
        "a=b": ("metadata", "sum"),
        "Stars": ("rating",),
        "who": ("author", "name"),
    }


def test_a_column_whose_field_is_given_otherwise_goes_under_metadata() -> None:
    targets = resolve_columns(("source", "Review", "text"), ("Review=text",), parse_constants(["source=x"]))

    assert targets["source"] == ("metadata", "source")
    assert targets["text"] == ("metadata", "text")


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ("Reviw=text", "The columns are: Review, date"),
        ("Review=txt", "did you mean text?"),
        ("Review=???", "The fields are: source"),
        ("Review", "is not COLUMN=FIELD"),
        ("=text", "is not COLUMN=FIELD"),
    ],
)
def test_a_mapping_that_is_wrong_is_told(mapping: str, told: str) -> None:
    with pytest.raises(ImportProblem) as caught:
        columns("Review", "date", mapping=(mapping,))

    assert told in str(caught.value)


def test_two_columns_cannot_be_the_same_field() -> None:
    with pytest.raises(ImportProblem, match="another column is text already"):
        columns("a", "b", mapping=("a=text", "b=text"))


@pytest.mark.parametrize("assignment", ["source", "source=", "=x", "sauce=x"])
def test_a_constant_that_is_wrong_is_told(assignment: str) -> None:
    with pytest.raises(ImportProblem):
        parse_constants([assignment])


def test_a_csv_row_becomes_a_mention() -> None:
    names = ("id", "text", "date", "author", "author handle", "rating", "Afdeling", "leeg")
    mapping = RowMapping(
        columns(*names), parse_constants(["source=glassdoor", "metadata.batch=7"]), parse_dates("UTC", None)
    )
    values = ["7", "Mooi", "2026-03-29 10:00", "Jan", "@jan", "4,5", "HR", ""]

    assert mention(dict(zip(names, values, strict=True)), mapping) == {
        "source": "glassdoor",
        "external_id": "7",
        "text": "Mooi",
        "published_at": "2026-03-29T10:00:00+00:00",
        "author": {"name": "Jan", "handle": "@jan"},
        "rating": "4.5",
        "metadata": {"Afdeling": "HR", "batch": "7"},
    }


def test_a_jsonl_object_keeps_its_own_shapes() -> None:
    first = ("text", "metadata", "author", "score")
    mapping = RowMapping(resolve_columns(first, (), closed=False), from_text=False)
    values = {
        "text": "",
        "score": [1, {"a": None}],
        "metadata": {"own": True},
        "author": {"name": "Jan"},
        "rating": 4,
        "late": 1,
        "none": None,
    }

    assert mention(values, mapping) == {
        "text": "",
        "author": {"name": "Jan"},
        "rating": 4,
        "metadata": {"own": True, "score": [1, {"a": None}], "late": 1},
    }


def test_a_mapping_may_name_a_jsonl_key_that_comes_later() -> None:
    mapping = RowMapping(resolve_columns(("a",), ("body=text",), closed=False), from_text=False)

    assert mention({"body": "hoi"}, mapping) == {"text": "hoi"}


def test_what_cannot_be_read_is_sent_as_it_is_or_refused_as_it_was() -> None:
    problem = RowProblem("", RejectionCode.INVALID, "because")

    assert RowMapping({}).mention_of(Row(1, "[1]")) == b"[1]"
    assert RowMapping({}).mention_of(Row(1, None, problem=problem)) == problem


def test_a_lone_surrogate_stays_an_escape() -> None:
    made = RowMapping({"text": ("text",)}).mention_of(Row(1, None, values={"text": "hoi \ud83d"}))

    assert made == b'{"text":"hoi \\ud83d"}'


@pytest.mark.parametrize(
    ("written", "zone", "pattern", "read"),
    [
        ("2026-03-29T10:00:00+02:00", None, None, "2026-03-29T08:00:00+00:00"),
        ("2026-03-29t08:00:00z", None, None, "2026-03-29T08:00:00+00:00"),
        ("2026-03-29 10:00", "Europe/Amsterdam", None, "2026-03-29T08:00:00+00:00"),
        ("2026-01-15", "Europe/Amsterdam", None, "2026-01-14T23:00:00+00:00"),
        (" 29-03-2026 10:00 ", "Europe/Amsterdam", "%d-%m-%Y %H:%M", "2026-03-29T08:00:00+00:00"),
        ("29/Mar/2026 10:00 +0200", None, "%d/%b/%Y %H:%M %z", "2026-03-29T08:00:00+00:00"),
        # The hour that occurs twice: its first occurrence, still in summer time.
        ("2026-10-25 02:30", "Europe/Amsterdam", None, "2026-10-25T00:30:00+00:00"),
        ("2026-10-25 03:30", "Europe/Amsterdam", None, "2026-10-25T02:30:00+00:00"),
        # The hour that does not occur: as the clock would have had it had it not been moved.
        ("2026-03-29 02:30", "Europe/Amsterdam", None, "2026-03-29T01:30:00+00:00"),
    ],
)
def test_dates_are_read(written: str, zone: str | None, pattern: str | None, read: str) -> None:
    assert parse_dates(zone, pattern).to_rfc3339(written) == read


@pytest.mark.parametrize(
    ("written", "dates", "told"),
    [
        ("2026-03-29 10:00", Dates(), "--timezone"),
        ("29-03-2026", parse_dates("UTC", None), "--date-format"),
        ("31-02-2026", parse_dates("UTC", "%d-%m-%Y"), "is not written as"),
        ("0001-01-01", parse_dates("Asia/Tokyo", None), "is not a date that exists"),
    ],
)
def test_a_date_that_cannot_be_read_names_the_option(written: str, dates: Dates, told: str) -> None:
    made = RowMapping({"d": ("published_at",)}, dates=dates).mention_of(Row(1, None, values={"d": written}))

    assert isinstance(made, RowProblem)
    assert (made.field, made.code) == ("published_at", RejectionCode.INVALID)
    assert told in made.reason


@pytest.mark.parametrize("zone", ["Amsterdam", "", "../etc/passwd", "/etc/localtime"])
def test_a_time_zone_that_is_not_known_is_told(zone: str) -> None:
    with pytest.raises(ImportProblem, match="Europe/Amsterdam"):
        parse_dates(zone, None)


def test_what_is_missing_is_named() -> None:
    assert RowMapping(columns("text")).missing() == ("source", "published_at")
    assert RowMapping(columns("text", "date"), parse_constants(["source=x"])).missing() == ()
