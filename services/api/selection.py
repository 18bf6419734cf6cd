"""What is asked of the store: which measure, split by what, over which mentions. Frozen values, no I/O."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from shared.events import AuthorKind

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
"""Ingest refuses older mentions (shared.events.EARLIEST)."""
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC)
PUBLIC = tuple(kind.value for kind in AuthorKind if kind is not AuthorKind.EMPLOYER)
"""Who speaks in what is counted: everybody but the employer itself."""
MAX_SEARCH_TERMS = 10
_SEARCH_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')


class Metric(StrEnum):
    """What a series measures."""

    MENTIONS = "mentions"
    FAILS = "fails"
    QUESTIONS = "questions"
    NEGATIVE = "negative"
    SENTIMENT = "sentiment"
    FAIL_RATE = "fail_rate"
    UNSURE = "unsure"

    @property
    def is_ratio(self) -> bool:
        """Whether it is a mean over mentions: undefined, not zero, where there are none."""
        return self in {Metric.SENTIMENT, Metric.FAIL_RATE}


class Dimension(StrEnum):
    """What a series can be split by."""

    BRAND = "brand"
    SOURCE = "source"
    LANGUAGE = "language"
    STAGE = "stage"
    TOPIC = "topic"


@dataclass(frozen=True)
class Filters:
    """Which mentions are meant: OR within one field, AND between fields; empty means all.

    `author_kinds`: those of mentions stored before the kind was are taken for the public's.

    `start` is inclusive, `end` exclusive, both aware. `text`: every word and "quoted phrase" of it occurs.
    """

    start: datetime
    end: datetime
    brands: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    author_kinds: tuple[str, ...] = PUBLIC
    fails: bool = False
    questions: bool = False
    text: str | None = None


@dataclass(frozen=True)
class SpikeFilters:
    """Which spikes are meant: those that were on at some time from `start` to `end`; empty means all."""

    start: datetime
    end: datetime
    brands: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    active: bool = False


def search_terms(text: str) -> tuple[str, ...]:
    """Return the words and quoted phrases of a search, in order: 'wacht "geen reactie"' has two."""
    found = (" ".join((quoted or word).split()) for quoted, word in _SEARCH_TERM.findall(text))
    return tuple(term for term in found if term)
