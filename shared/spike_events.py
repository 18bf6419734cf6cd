"""The event on the topic `spikes`: something that is said about an employer far more often than usual.

Raised when it begins, again (same id) when it becomes more severe, and once more (`ended_at` set) when it is
over. Who reads it keeps the last by id. Its examples hold the beginning of the text, for who is alerted.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from shared.events import Stage

SCHEMA_VERSION = 1
MAX_EXAMPLES = 3
MAX_TOPICS = 3
MAX_EXCERPT = 160


class SpikeKind(StrEnum):
    """What was noticed."""

    SPIKE = "spike"
    DROP = "drop"
    SOURCE_SILENT = "source_silent"


class Severity(StrEnum):
    """How much it asks for attention."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class SpikeState(StrEnum):
    """Whether it is still going on."""

    ACTIVE = "active"
    ENDED = "ended"


class Example(BaseModel):
    """One mention that is part of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    url: str | None = None
    excerpt: Annotated[str, Field(max_length=MAX_EXCERPT)] = ""


class Spike(BaseModel):
    """One spike, drop or silent source.

    Of a spike and a drop `observed` and `expected` count #fails, of a silent source mentions. Each author
    counts once in a window for `distinct_authors`, which is what the test is about.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    id: UUID
    kind: SpikeKind
    severity: Severity
    brand: str | None = Field(description="The employer; null for a source that is silent.")
    source: str | None = Field(None, description="The source that is silent.")
    stage: Stage | None = Field(None, description="Where in the journey; null when not in one stage.")
    topics: Annotated[tuple[str, ...], Field(max_length=MAX_TOPICS)] = ()
    observed: int = Field(ge=0, description="How many there were in the window.")
    expected: float = Field(ge=0, description="How many different people are usual there.")
    expected_high: float = Field(0.0, ge=0, description="Up to how many are usual in 99 of 100 such windows.")
    distinct_authors: int = Field(ge=0, description="By how many different people.")
    p_value: float = Field(ge=0, le=1, description="How likely so many are by chance, in one such window.")
    q_value: float = Field(
        ge=0, le=1, description="The same, for all that was looked at (Benjamini-Hochberg)."
    )
    window_from: datetime
    window_to: datetime
    raised_at: datetime
    ended_at: datetime | None = None
    examples: Annotated[tuple[Example, ...], Field(max_length=MAX_EXAMPLES)] = ()

    @computed_field(  # type: ignore[prop-decorator]
        description="How many times the expected number of people it was; less than 1/24 counts as that."
    )
    @property
    def ratio(self) -> float:
        """How many times the expected number of people it was; less than one a day is no measure."""
        return round(self.distinct_authors / max(self.expected, 1.0 / 24), 2)

    @computed_field(description="active, or ended.")  # type: ignore[prop-decorator]
    @property
    def state(self) -> SpikeState:
        """Whether it is still going on."""
        return SpikeState.ACTIVE if self.ended_at is None else SpikeState.ENDED

    @property
    def key(self) -> bytes:
        """The Kafka key: what happens to one spike stays in order."""
        return str(self.id).encode()
