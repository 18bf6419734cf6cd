"""What the API answers, as frozen models: one definition for the code, the JSON and the documentation."""

from base64 import b64encode
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, computed_field

from services.api.buckets import Interval
from services.api.cursor import Cursor
from services.api.figures import wilson
from services.api.selection import Metric
from shared.dead_letters import DeadLetter
from shared.spike_events import Spike

SHOWN_BYTES = 20_000
LEAST_CHECKED = 20
"""Below so many a share is no more than a guess."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Point(_Answer):
    """One bucket of a series."""

    t: datetime = Field(description="Start of the bucket, with the offset of `tz` at that moment.")
    value: int | float | None = Field(
        description="Counts are 0 where there is nothing; sentiment and fail_rate have no value there: null."
    )
    n: int = Field(description="Mentions in the bucket: the denominator.")


class Series(_Answer):
    """One line: a point for every bucket of the period."""

    group: dict[str, str] = Field(description="Which group this is, by the fields of group_by.")
    points: tuple[Point, ...]


class Timeseries(_Answer):
    """A measure over time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "metric": "fails",
                    "interval": "day",
                    "tz": "Europe/Amsterdam",
                    "from": "2026-03-28T00:00:00+01:00",
                    "to": "2026-03-31T00:00:00+02:00",
                    "series": [
                        {
                            "group": {"brand": "Acme Zorg"},
                            "points": [
                                {"t": "2026-03-28T00:00:00+01:00", "value": 4, "n": 21},
                                {"t": "2026-03-29T00:00:00+01:00", "value": 0, "n": 0},
                                {"t": "2026-03-30T00:00:00+02:00", "value": 2, "n": 17},
                            ],
                        }
                    ],
                }
            ]
        }
    )

    metric: Metric
    interval: Interval
    tz: str
    from_: datetime = Field(alias="from", description="Inclusive.")
    to: datetime = Field(description="Exclusive.")
    series: tuple[Series, ...] = Field(description="Without group_by exactly one, whose group is {}.")


class AuthorOut(_Answer):
    """Who wrote a mention, as far as the source tells."""

    name: str | None
    handle: str | None


EXAMPLE_MENTION: dict[str, Any] = {
    "id": "5d0b8b5e-5c1c-5a3c-9a53-0c7f6a1d6f0e",
    "source": "linkedin",
    "external_id": "urn:li:comment:7301",
    "brand": "Acme Zorg",
    "other_brands": [],
    "author": {"name": "Sanne", "handle": "@sanne"},
    "text": "Drie weken geleden gesolliciteerd bij Acme Zorg, nog steeds niets gehoord. #fail",
    "url": "https://www.linkedin.com/feed/update/7301",
    "published_at": "2026-03-30T08:12:00Z",
    "received_at": "2026-03-30T08:12:41.120000Z",
    "in_reply_to": None,
    "conversation_id": None,
    "kind": "comment",
    "rating": None,
    "rating_scale": 5.0,
    "metadata": {},
    "language": "nl",
    "sentiment": -0.62,
    "sentiment_label": "negative",
    "confidence": 0.81,
    "sentiment_unsure": False,
    "is_fail": True,
    "fail_terms": ["niets gehoord", "#fail"],
    "is_question": False,
    "topics": ["response time"],
    "stage": "silence",
    "author_kind": "candidate",
    "hashtags": ["fail"],
    "model": "klankbord-linear-1.a1448707",
    "corrected": [],
}
EXAMPLE_CURSOR = (
    "WyIyMDI2LTAzLTMwVDA4OjEyOjAwKzAwOjAwIiwiNWQwYjhiNWUtNWMxYy01YTNjLTlhNTMtMGM3ZjZhMWQ2ZjBlIiwiZjA4Il0"
)


class MentionOut(_Answer):
    """A mention with its labels."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_MENTION]})

    id: UUID
    source: str
    external_id: str | None
    brand: str
    other_brands: tuple[str, ...] = Field(description="Brands whose terms it matches less well.")
    author: AuthorOut | None
    text: str = Field(description="Plain text.")
    url: str | None
    published_at: datetime
    received_at: datetime
    in_reply_to: str | None
    conversation_id: str | None
    kind: str = Field(description="post, comment, review, mail or message.")
    rating: float | None
    rating_scale: float
    metadata: dict[str, JsonValue]
    language: str = Field(description="nl, en, other; und: too little to tell by.")
    sentiment: float = Field(ge=-1, le=1)
    sentiment_label: str = Field(description="negative, neutral or positive.")
    confidence: float = Field(ge=0, le=1, description="How sure the sentiment label is.")
    sentiment_unsure: bool = Field(description="Neutral because nothing else was sure enough.")
    is_fail: bool = Field(description="A complaint: an unmet expectation voiced about the employer.")
    fail_terms: tuple[str, ...] = Field(description="The words that made it a #fail.")
    is_question: bool
    topics: tuple[str, ...]
    stage: str = Field(description="Where in the candidate's journey it belongs.")
    author_kind: str = Field(
        description="Who speaks: candidate, employee, employer (its own posts, which do not count), other; "
        "empty: stored before this was known."
    )
    hashtags: tuple[str, ...] = Field(description="Lower case, without the #.")
    model: str = Field(description="Name and version of what labelled it.")
    corrected: tuple[str, ...] = Field((), description="The labels that a person corrected or confirmed.")


class MentionPage(_Answer):
    """Mentions as the store gives them, newest first; `next` is None on the last page."""

    items: tuple[MentionOut, ...]
    next: Cursor | None


class Mentions(_Answer):
    """One page of mentions, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"mentions": [EXAMPLE_MENTION], "next_cursor": EXAMPLE_CURSOR}]}
    )

    mentions: tuple[MentionOut, ...]
    next_cursor: str | None = Field(
        description="Give it as `cursor`, the other parameters unchanged; null on the last page."
    )


class Checked(_Answer):
    """How often people agreed with one label of the model, in one month."""

    month: str = Field(description="Of publication, in `tz`.", examples=["2026-11"])
    label: str = Field(description="sentiment, fail, question, stage, author_kind, language or topics.")
    checked: int = Field(description="Mentions of which a person said what this label should be.")
    agreed: int = Field(description="Those where it is what the model said.")

    @computed_field(description="agreed/checked; null below 20 checked: too few to say.")  # type: ignore[prop-decorator]
    @property
    def share(self) -> float | None:
        """Return the share that agreed."""
        return round(self.agreed / self.checked, 4) if self.checked >= LEAST_CHECKED else None

    @computed_field(description="The 95 % interval of the share (Wilson).")  # type: ignore[prop-decorator]
    @property
    def interval(self) -> tuple[float, float]:
        """Return the bounds of the share."""
        bounds = wilson(self.agreed, self.checked)
        return (0.0, 1.0) if bounds is None else (round(bounds.low, 4), round(bounds.high, 4))


class Accuracy(_Answer):
    """How often people disagreed with the model. They do not look at random: mostly where it seems wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tz": "Europe/Amsterdam",
                    "months": [
                        {
                            "month": "2026-11",
                            "label": "fail",
                            "checked": 40,
                            "agreed": 31,
                            "share": 0.775,
                            "interval": [0.625, 0.8768],
                        }
                    ],
                }
            ]
        }
    )

    tz: str
    months: tuple[Checked, ...] = Field(description="By month and label, oldest first.")


class TopicCount(_Answer):
    """One topic of the period."""

    topic: str
    mentions: int
    fails: int
    questions: int


class Topics(_Answer):
    """What is talked about, most mentioned first. A mention counts in each of its topics."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tz": "Europe/Amsterdam",
                    "from": "2026-03-01T00:00:00+01:00",
                    "to": "2026-03-31T00:00:00+02:00",
                    "topics": [{"topic": "response time", "mentions": 41, "fails": 19, "questions": 8}],
                }
            ]
        }
    )

    tz: str
    from_: datetime = Field(alias="from", description="Inclusive.")
    to: datetime = Field(description="Exclusive.")
    topics: tuple[TopicCount, ...]


EXAMPLE_SPIKE: dict[str, Any] = {
    "schema_version": 1,
    "id": "0d889934-e2e5-513b-99ea-20ccf566553f",
    "kind": "spike",
    "severity": "critical",
    "brand": "Acme Zorg",
    "source": None,
    "stage": "silence",
    "topics": ["response time"],
    "observed": 44,
    "expected": 1.75,
    "expected_high": 6.0,
    "distinct_authors": 42,
    "p_value": 6.8e-33,
    "q_value": 2.7e-32,
    "window_from": "2026-03-30T09:00:00Z",
    "window_to": "2026-03-30T10:00:00Z",
    "raised_at": "2026-03-30T10:00:00Z",
    "ended_at": None,
    "examples": [
        {
            "id": EXAMPLE_MENTION["id"],
            "url": EXAMPLE_MENTION["url"],
            "excerpt": EXAMPLE_MENTION["text"],
        }
    ],
    "ratio": 24.0,
    "state": "active",
}


class SpikePage(_Answer):
    """Spikes as the store gives them, newest first; `next` is None on the last page."""

    items: tuple[Spike, ...]
    next: Cursor | None


class Spikes(_Answer):
    """One page of spikes, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"spikes": [EXAMPLE_SPIKE], "next_cursor": None}]}
    )

    spikes: tuple[Spike, ...]
    next_cursor: str | None = Field(
        description="Give it as `cursor`, the other parameters unchanged; null on the last page."
    )


class BrandSummary(_Answer):
    """One brand, from its first mention to its last."""

    name: str
    configured: bool = Field(description="Whether it stands in klankbord.toml.")
    mentions: int
    fails: int
    questions: int
    first_mention: datetime | None = Field(description="When its oldest mention was published.")
    last_mention: datetime | None = Field(description="When its newest mention was published.")


class Brands(_Answer):
    """The brands that are configured or seen in the data, by name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "brands": [
                        {
                            "name": "Acme Zorg",
                            "configured": True,
                            "mentions": 812,
                            "fails": 97,
                            "questions": 140,
                            "first_mention": "2026-01-02T07:15:00Z",
                            "last_mention": "2026-03-30T08:12:00Z",
                        }
                    ]
                }
            ]
        }
    )

    brands: tuple[BrandSummary, ...]


EXAMPLE_LETTER: dict[str, Any] = {
    "number": 3,
    "put_aside_at": "2026-03-30T08:12:00Z",
    "reason": "undecodable",
    "detail": "Invalid JSON: expected value at line 1 column 1",
    "service": "enrich",
    "topic": "mentions.raw",
    "partition": 2,
    "offset": 4711,
    "size": 8,
    "sent_again": False,
}


class DeadLetterSummary(_Answer):
    """A message that could not be processed."""

    number: int = Field(description="What it is called by; `klankbord dead replay NUMBER` sends it again.")
    put_aside_at: datetime
    reason: str = Field(description="undecodable, schema, too_large, enrichment_error or refused_by_store.")
    detail: str = Field(description="What was wrong with it.")
    service: str = Field(description="Which service put it aside.")
    topic: str
    partition: int
    offset: int = Field(description="Topic, partition and offset: where the original stands.")
    size: int = Field(description="Bytes of the original.")
    sent_again: bool

    @classmethod
    def of(cls, letter: DeadLetter, *, sent_again: bool) -> Self:
        """Return the summary of a letter."""
        return cls(**_letter_fields(letter), sent_again=sent_again)


class DeadLetters(_Answer):
    """One page of dead letters, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dead_letters": [EXAMPLE_LETTER],
                    "next_below": None,
                }
            ]
        }
    )

    dead_letters: tuple[DeadLetterSummary, ...]
    next_below: int | None = Field(description="Give it as `below` for the next page; null on the last one.")


class DeadLetterDetail(DeadLetterSummary):
    """A message that could not be processed, with how it begins."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE_LETTER | {"key": "k-1", "headers": {}, "text": "not JSON", "base64": "bm90IEpTT04="}
            ]
        }
    )

    key: str | None = Field(description="Its Kafka key; bytes that are no text as \\x...")
    headers: dict[str, str] = Field(description="Its own headers.")
    text: str = Field(description="Its first 20,000 bytes as text; bytes that are none as \\x...")
    base64: str = Field(description="The same bytes as they are.")

    @classmethod
    def detail_of(cls, letter: DeadLetter, *, sent_again: bool) -> Self:
        """Return all of a letter that is shown."""
        beginning = letter.value[:SHOWN_BYTES]
        return cls(
            **_letter_fields(letter),
            sent_again=sent_again,
            key=None if letter.key is None else _text(letter.key),
            headers={name: _text(value) for name, value in letter.headers},
            text=_text(beginning),
            base64=b64encode(beginning).decode(),
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _letter_fields(letter: DeadLetter) -> dict[str, Any]:
    names = ("number", "reason", "detail", "service", "topic", "partition", "offset")
    fields = {name: getattr(letter, name) for name in names}
    return fields | {"put_aside_at": letter.died_at, "size": letter.truncated or len(letter.value)}
