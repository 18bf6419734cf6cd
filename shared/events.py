"""The events on Kafka, one definition for producer and consumer, and the mention that comes in.

    Mention          what a sender gives (strict: an unknown field is an error)
    RawMention       mentions.raw: a Mention with its id and when it was received
    EnrichedMention  mentions.enriched: a RawMention with its labels

Events are JSON bytes with a `schema_version`. Fields a reader does not know are ignored, so that a newer
producer and an older consumer can meet.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Self
from uuid import UUID, uuid5

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, to_json

from shared.errors import InvalidMention
from shared.text import clean_line, clean_text

SCHEMA_VERSION = 2
MAX_TEXT = 20_000
MAX_METADATA_KEYS = 50
MAX_METADATA_BYTES = 8_192
MAX_MENTION_BYTES = 262_144
"""At most this much JSON a mention: 20,000 characters, escaped at worst, are 120,000 bytes."""
FUTURE_TOLERANCE = timedelta(days=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
NAMESPACE = UUID("6b6c616e-6b62-5f72-8420-6d656e74696f")
"""The UUIDv5 namespace of mention ids. Never change it: every stored id hangs on it."""


class Kind(StrEnum):
    """What sort of thing a mention is."""

    POST = "post"
    COMMENT = "comment"
    REVIEW = "review"
    MAIL = "mail"
    MESSAGE = "message"


class Language(StrEnum):
    """The languages that are told apart."""

    DUTCH = "nl"
    ENGLISH = "en"
    OTHER = "other"
    UNDETERMINED = "und"
    """There is too little to go by."""


class SentimentLabel(StrEnum):
    """How a mention feels."""

    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"


class Stage(StrEnum):
    """Where in the candidate's journey a mention belongs."""

    VACANCY = "vacancy"
    APPLICATION = "application"
    SILENCE = "silence"
    INTERVIEW = "interview"
    REJECTION = "rejection"
    OFFER = "offer"
    ONBOARDING = "onboarding"
    EMPLOYEE = "employee"
    OTHER = "other"


class AuthorKind(StrEnum):
    """Who speaks in a mention."""

    CANDIDATE = "candidate"
    """Who applies, applied or may; or speaks for one."""
    EMPLOYEE = "employee"
    """Who works there, or did."""
    EMPLOYER = "employer"
    """The employer itself: its account, its vacancies. Never a mention by the public."""
    OTHER = "other"
    """The press, clients, anybody else."""


class RejectionCode(StrEnum):
    """Why a mention is refused: a closed set, used as metric label and in tests."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    MISSING = "missing"
    UNKNOWN_FIELD = "unknown_field"
    INVALID = "invalid"
    IN_FUTURE = "in_future"
    TOO_OLD = "too_old"


_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?P<offset>[Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


def _rfc3339(value: object) -> object:
    """Let only RFC 3339 with an offset through: pydantic alone would take epoch numbers and bare dates."""
    if isinstance(value, datetime):
        return value
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be an RFC 3339 date and time, such as 2026-03-29T10:00:00+02:00")
    if match["offset"] is None:
        raise ValueError("has no UTC offset: write 2026-03-29T10:00:00+02:00 or 2026-03-29T08:00:00Z")
    return value


def _language(value: object) -> object:
    """Reduce a BCP 47 tag to its primary language: nl-BE -> nl."""
    return re.split("[-_]", value.strip())[0].lower() if isinstance(value, str) else value


def _author(value: object) -> object:
    """Take a bare string for an author: "@name" is a handle, anything else a name."""
    if not isinstance(value, str):
        return value
    return {"handle": value} if value.strip().startswith("@") else {"name": value}


Line = BeforeValidator(lambda value: clean_line(value) if isinstance(value, str) else value)
Rfc3339 = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
Name = Annotated[str, Line, Field(min_length=1, max_length=200)]
Reference = Annotated[str, Line, Field(min_length=1, max_length=500)]
_BLANK_MEANS_ABSENT = (
    "external_id", "brand", "author", "url", "language_hint", "in_reply_to", "conversation_id", "rating"
)  # fmt: skip


class Author(BaseModel):
    """Who wrote a mention, as far as the source tells."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name | None = None
    handle: Name | None = None


class _MentionFields(BaseModel):
    """What Mention and the events have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str = Field(description="Where it was said, e.g. linkedin, google-reviews, mail.")
    external_id: str | None = Field(None, description="The source's own id; makes resending harmless.")
    brand: str | None = Field(None, description="The employer it is about; without it, matched by terms.")
    author: Author | None = Field(None, description='{"name", "handle"} or a string.')
    text: str
    url: str | None = None
    language_hint: str | None = Field(None, description="What the source says the language is.")
    published_at: datetime
    in_reply_to: str | None = Field(None, description="The external id of what it answers.")
    conversation_id: str | None = Field(None, description="What keeps a thread together.")
    kind: Kind = Kind.POST
    rating: float | None = Field(None, description="Stars or marks, from 0 to rating_scale.")
    rating_scale: float = Field(5.0, description="The best rating that the source knows.")
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class Mention(_MentionFields):
    """One mention as a sender gives it. Strict: an unknown field is refused, with a hint."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    source: Annotated[str, Line, Field(min_length=1, max_length=64)]
    external_id: Reference | None = None
    brand: Annotated[str, Line, Field(min_length=1, max_length=100)] | None = None
    author: Annotated[Author, BeforeValidator(_author)] | None = None
    text: Annotated[str, BeforeValidator(lambda v: clean_text(v) if isinstance(v, str) else v)]
    url: Annotated[str, Line, Field(max_length=2_000, pattern=r"^https?://[^\s<>\"]+$")] | None = None
    language_hint: Annotated[str, BeforeValidator(_language), Field(pattern="^[a-z]{2,3}$")] | None = Field(
        None, validation_alias=AliasChoices("language_hint", "language")
    )
    published_at: Rfc3339
    in_reply_to: Reference | None = None
    conversation_id: Reference | None = None
    rating: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    rating_scale: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 5.0

    @model_validator(mode="before")
    @classmethod
    def _blank_means_absent(cls, data: Any) -> Any:
        """Drop optional fields that are empty strings: forms and CSV files send those for "nothing"."""
        if isinstance(data, dict) and any(data.get(name) == "" for name in _BLANK_MEANS_ABSENT):
            return {k: v for k, v in data.items() if v != "" or k not in _BLANK_MEANS_ABSENT}
        return data

    @field_validator("text")
    @classmethod
    def _text_within_bounds(cls, text: str) -> str:
        if not text:
            raise ValueError("is empty once markup and control characters are removed")
        if len(text) > MAX_TEXT:
            raise ValueError(f"is {len(text):,} characters; at most {MAX_TEXT:,} are taken")
        return text

    @field_validator("metadata")
    @classmethod
    def _metadata_within_bounds(cls, metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if len(metadata) > MAX_METADATA_KEYS:
            raise ValueError(f"has {len(metadata)} keys; at most {MAX_METADATA_KEYS} are taken")
        if metadata and (size := len(to_json(metadata))) > MAX_METADATA_BYTES:
            raise ValueError(f"is {size:,} bytes as JSON; at most {MAX_METADATA_BYTES:,} are taken")
        return metadata

    @field_validator("published_at")
    @classmethod
    def _in_utc(cls, published_at: datetime) -> datetime:
        return published_at.astimezone(UTC)

    @model_validator(mode="after")
    def _rating_within_scale(self) -> Self:
        if self.rating is not None and self.rating > self.rating_scale:
            raise ValueError(f"rating {self.rating:g} is above rating_scale {self.rating_scale:g}; send both")
        return self

    @property
    def id(self) -> UUID:
        """The mention's id: UUIDv5 of source and external id; without one, of the content."""
        return mention_id(self)


def mention_id(mention: _MentionFields) -> UUID:
    """Return the deterministic id of a mention (RFC 9562 UUIDv5 in NAMESPACE).

    JSON keeps the parts apart: ("a", "bc") and ("ab", "c") differ.
    """
    if mention.external_id is not None:
        return uuid5(NAMESPACE, json.dumps([mention.source, mention.external_id]))
    author = mention.author or Author()
    published_at = mention.published_at.astimezone(UTC).isoformat()
    parts = (
        mention.source,
        mention.brand,
        author.name,
        author.handle,
        mention.url,
        published_at,
        mention.text,
    )
    return uuid5(NAMESPACE, json.dumps(["content", *parts]))


class RawMention(_MentionFields):
    """mentions.raw: a mention that was accepted."""

    schema_version: int = SCHEMA_VERSION
    id: UUID
    received_at: datetime = Field(description="When ingest took it; the later of two versions wins.")

    @staticmethod
    def of(mention: Mention, received_at: datetime) -> "RawMention":
        """Return the event for an accepted mention."""
        fields = {name: getattr(mention, name) for name in Mention.model_fields}
        return RawMention.model_construct(
            **fields, id=mention.id, received_at=received_at, schema_version=SCHEMA_VERSION
        )

    @property
    def key(self) -> bytes:
        """The Kafka key: what belongs to one conversation stays in order, in one partition."""
        return (self.conversation_id or str(self.id)).encode()


class EnrichedMention(RawMention):
    """mentions.enriched: a mention with its labels."""

    brand: str
    other_brands: tuple[str, ...] = Field((), description="Brands whose terms it matches less well.")
    language: Language
    sentiment: float = Field(ge=-1, le=1)
    sentiment_label: SentimentLabel
    confidence: float = Field(ge=0, le=1, description="How sure the sentiment label is.")
    sentiment_unsure: bool = Field(False, description="Called neutral because nothing else was sure enough.")
    is_fail: bool = Field(description="A complaint: an unmet expectation voiced about the employer.")
    fail_terms: tuple[str, ...] = Field((), description="The words that made it a #fail.")
    is_question: bool
    topics: tuple[str, ...] = ()
    stage: Stage
    author_kind: AuthorKind = Field(AuthorKind.OTHER, description="Who speaks.")
    hashtags: tuple[str, ...] = Field((), description="Lower case, without the #.")
    model: str = Field(description="Name and version of what labelled it.")


def parse_mention(data: bytes | str | Mapping[str, Any], now: datetime) -> Mention:
    """Return the mention in `data` (JSON, or already an object), checked against every rule.

    Raises InvalidMention, which names the first field that is wrong, why, and what to do.
    """
    try:
        if isinstance(data, bytes | str):
            if len(data) > MAX_MENTION_BYTES:
                reason = f"is {len(data):,} bytes; at most {MAX_MENTION_BYTES:,} are taken"
                raise InvalidMention("", RejectionCode.TOO_LARGE, reason)
            mention = _parse_json(data)
        else:
            mention = Mention.model_validate(data)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False)[0]) from None
    _check_published_at(mention.published_at, now)
    return mention


def _parse_json(data: bytes | str) -> Mention:
    try:
        return Mention.model_validate_json(data)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise
    encoded = data.encode("utf-8", "replace") if isinstance(data, str) else data
    return Mention.model_validate_json(repair_surrogates(encoded))


def repair_surrogates(data: bytes) -> bytes:
    """Return the JSON in `data` with each escaped lone surrogate as U+FFFD.

    The parser refuses those; exports cut in the middle of an emoji do contain them.
    """
    return _ESCAPE.sub(_repair_escape, data)


# A surrogate pair, a lone surrogate (group 1), or any other escape, so that an escaped backslash is skipped.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.S,
)


def _repair_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def _check_published_at(published_at: datetime, now: datetime) -> None:
    if published_at > now + FUTURE_TOLERANCE:
        reason = f"is {published_at.isoformat()}, over a day in the future; check the clock and the offset"
        raise InvalidMention("published_at", RejectionCode.IN_FUTURE, reason)
    if published_at < EARLIEST:
        reason = f"is {published_at.isoformat()}, before {EARLIEST:%Y-%m-%d}: probably an empty date"
        raise InvalidMention("published_at", RejectionCode.TOO_OLD, reason)


@lru_cache(maxsize=1)
def _known_fields() -> tuple[str, ...]:
    return (*Mention.model_fields, "language")


def _invalid(error: ErrorDetails) -> InvalidMention:
    """Say one of pydantic's errors in our words."""
    field = ".".join(str(part) for part in error["loc"])
    reason = error["msg"].removeprefix("Value error, ")
    match error["type"]:
        case "missing":
            return InvalidMention(field, RejectionCode.MISSING, "is required")
        case "extra_forbidden":
            close = get_close_matches(field, _known_fields(), n=1)
            hint = f"did you mean {close[0]}?" if close else "put fields of your own under metadata"
            return InvalidMention(field, RejectionCode.UNKNOWN_FIELD, f"is not a field of a mention; {hint}")
        case "json_invalid":
            return InvalidMention("", RejectionCode.NOT_JSON, f"is not {reason.removeprefix('Invalid ')}")
        case "model_type" | "model_attributes_type" if not field:
            return InvalidMention("", RejectionCode.NOT_AN_OBJECT, "must be a JSON object")
        case "value_error" if not field:
            return InvalidMention(reason.split()[0], RejectionCode.INVALID, reason)
        case _:
            return InvalidMention(field, RejectionCode.INVALID, reason[0].lower() + reason[1:])
