"""The event on the topic `spikes`: something that is said about an employer far more often than usual.

Raised once when it begins, and once more (same id, `ended_at` set) when it is over. Texts stay in the store;
the event names its examples by id and address.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.events import Stage

SCHEMA_VERSION = 1
MAX_EXAMPLES = 3
MAX_TOPICS = 3


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
    expected: float = Field(ge=0, description="How many are usual there.")
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

    @property
    def ratio(self) -> float:
        """How many times the expected number was observed."""
        return self.observed / max(self.expected, 1.0 / 24)

    @property
    def state(self) -> SpikeState:
        """Whether it is still going on."""
        return SpikeState.ACTIVE if self.ended_at is None else SpikeState.ENDED

    @property
    def key(self) -> bytes:
        """The Kafka key: what happens to one spike stays in order."""
        return str(self.id).encode()
