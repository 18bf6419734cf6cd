"""The event on the topic `corrections`: what a person says that a label of a mention should be.

Key: the mention's id and the label, so that compaction keeps the last of each. It wins over the model's label
in every count, whenever it comes; a value of null takes it back.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import to_json

from shared.events import AuthorKind, Language, Line, SentimentLabel, Stage

SCHEMA_VERSION = 1
MAX_TOPICS = 20


class CorrectedLabel(StrEnum):
    """The labels that can be corrected."""

    SENTIMENT = "sentiment"
    FAIL = "fail"
    QUESTION = "question"
    STAGE = "stage"
    AUTHOR_KIND = "author_kind"
    LANGUAGE = "language"
    TOPICS = "topics"


Value = bool | str | tuple[str, ...] | None
By = Annotated[str, Line, Field(min_length=1, max_length=100)]
_TOPIC = Annotated[str, Line, Field(min_length=1, max_length=100)]
_VALUES: dict[CorrectedLabel, TypeAdapter[Any]] = {
    CorrectedLabel.SENTIMENT: TypeAdapter(SentimentLabel),
    CorrectedLabel.FAIL: TypeAdapter(Annotated[bool, Field(strict=True)]),
    CorrectedLabel.QUESTION: TypeAdapter(Annotated[bool, Field(strict=True)]),
    CorrectedLabel.STAGE: TypeAdapter(Stage),
    CorrectedLabel.AUTHOR_KIND: TypeAdapter(AuthorKind),
    CorrectedLabel.LANGUAGE: TypeAdapter(Language),
    CorrectedLabel.TOPICS: TypeAdapter(Annotated[tuple[_TOPIC, ...], Field(max_length=MAX_TOPICS)]),
}


def checked(label: CorrectedLabel, value: object) -> Value:
    """Return `value` as one that `label` can have; None takes a correction back.

    Raises ValueError that says what is taken.
    """
    if value is None:
        return None
    try:
        found = _VALUES[label].validate_python(value)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ValueError(f"{label.value}: {reason[0].lower()}{reason[1:]}") from None
    return found.value if isinstance(found, StrEnum) else found


class Correction(BaseModel):
    """One label of one mention, as a person says it should be."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    mention_id: UUID
    label: CorrectedLabel
    value: Value = Field(description="What is right; null takes the correction back.")
    by: By = Field(description="Who says so: a name or a role, as the organisation likes.")
    corrected_at: datetime = Field(description="When ingest took it; the later of two wins.")

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        checked(self.label, self.value)
        return self

    @property
    def key(self) -> bytes:
        """The Kafka key."""
        return f"{self.mention_id}/{self.label}".encode()

    @property
    def stored_value(self) -> str:
        """The value as the table `corrections` has it: '' when it is taken back."""
        if self.value is None or isinstance(self.value, str):
            return self.value or ""
        return to_json(self.value).decode()
