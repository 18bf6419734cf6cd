"""What the worker does with a run of records: parse, label, write on. No Faust in here.

A bad message is put aside in mentions.dead and never blocks a good one. An outage of Kafka is waited out,
visibly; nothing is finished before Kafka has acknowledged its output.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from shared.dead_letters import DeadReason
from shared.events import EnrichedMention, Language, RawMention
from shared.metrics_catalogue import (
    BRAND_FAILS,
    BRAND_MENTIONS,
    BRAND_QUESTIONS,
    DEAD_LETTERS,
    ENRICH_CONSUMED,
    ENRICH_PRODUCED,
    ENRICH_UNMATCHED,
    Bounded,
)
from shared.produce import Message
from shared.tracing import passed_on

log = structlog.get_logger()

BACKOFF_SECONDS = (0.2, 15.0)
MAX_EVENT_BYTES = 1_048_576
"""Several times what ingest lets through; a larger message in mentions.raw did not come from there."""


class Labeller(Protocol):
    """What labels mentions (services/enrich/steps.py)."""

    def enrich(self, raw: RawMention) -> EnrichedMention | None:
        """Return the labelled mention; None when it is about no brand."""
        ...

    def enrich_batch(self, raws: Sequence[RawMention]) -> list[EnrichedMention | None]:
        """Return `enrich` of each."""
        ...


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record that cannot be processed, and why."""

    record: ConsumerRecord
    reason: DeadReason
    detail: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many mentions, #fails and questions a run had, by brand and language."""

    mentions: Counter[tuple[str, Language]] = field(default_factory=Counter)
    fails: Counter[tuple[str, Language]] = field(default_factory=Counter)
    questions: Counter[tuple[str, Language]] = field(default_factory=Counter)

    def add(self, mention: EnrichedMention) -> None:
        """Count one mention."""
        group = (mention.brand, mention.language)
        self.mentions[group] += 1
        self.fails[group] += mention.is_fail
        self.questions[group] += mention.is_question


@dataclass(slots=True)
class Outcome:
    """What became of a run of records: each is in exactly one of the three."""

    enriched: list[Message] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    unmatched: int = 0
    tally: Tally = field(default_factory=Tally)

    def verdicts(self, records: Sequence[ConsumerRecord]) -> list[bool]:
        """Return, for each of the records it came from, whether it is bad."""
        bad = {b.record.offset for b in self.bad}
        return [record.offset in bad for record in records]


class Output(Protocol):
    """Where outcomes go (services/enrich/output.py)."""

    async def write(self, outcome: Outcome) -> None:
        """Return once Kafka has acknowledged everything; raise KafkaError during an outage."""
        ...


def process(records: Sequence[ConsumerRecord], labeller: Labeller) -> Outcome:
    """Label the mentions in `records`. Deterministic; raises nothing."""
    outcome = Outcome()
    parsed: list[tuple[ConsumerRecord, RawMention]] = []
    for record in records:
        value = record.value or b""
        if len(value) > MAX_EVENT_BYTES:
            outcome.bad.append(BadRecord(record, DeadReason.TOO_LARGE, f"{len(value):,} bytes"))
            continue
        try:
            parsed.append((record, RawMention.model_validate_json(value)))
        except ValidationError as error:
            outcome.bad.append(_unreadable(record, error))
    for (record, raw), enriched in zip(parsed, _label(parsed, labeller, outcome), strict=True):
        if enriched is not None:
            value = enriched.model_dump_json().encode()
            outcome.enriched.append(Message(record.key or raw.key, value, passed_on(record.headers)))
            outcome.tally.add(enriched)
    outcome.unmatched = len(records) - len(outcome.bad) - len(outcome.enriched)
    return outcome


def _label(
    parsed: Sequence[tuple[ConsumerRecord, RawMention]], labeller: Labeller, outcome: Outcome
) -> list[EnrichedMention | None]:
    try:
        return labeller.enrich_batch([raw for _, raw in parsed])
    except Exception as error:
        # Whatever one mention brings about must not stop the others: find out which it was.
        log.warning("batch_failed", reason=repr(error), then="one by one")
        return [_label_one(record, raw, labeller, outcome) for record, raw in parsed]


def _label_one(
    record: ConsumerRecord, raw: RawMention, labeller: Labeller, outcome: Outcome
) -> EnrichedMention | None:
    try:
        return labeller.enrich(raw)
    except Exception as error:
        log.error("enrichment_failed", mention_id=str(raw.id), exc_info=error)
        outcome.bad.append(BadRecord(record, DeadReason.ENRICHMENT_ERROR, repr(error)))
        return None


def _unreadable(record: ConsumerRecord, error: ValidationError) -> BadRecord:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return BadRecord(record, DeadReason.UNDECODABLE, first["msg"])
    place = ".".join(str(part) for part in first["loc"])
    return BadRecord(record, DeadReason.SCHEMA, f"{place}: {first['msg']}")


async def write_until_done(
    outcome: Outcome,
    output: Output,
    abandoned: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """Write the outcome, waiting out outages; False when `abandoned` became true before it succeeded."""
    delay, longest = BACKOFF_SECONDS
    while not abandoned():
        try:
            await output.write(outcome)
        except KafkaError as error:
            log.warning("kafka_unavailable", reason=repr(error), retry_in_seconds=round(delay, 1))
            await sleep(delay * random.uniform(0.8, 1.2))
            delay = min(delay * 2, longest)
        else:
            return True
    return False


def count(outcome: Outcome, brand_label: Bounded) -> None:
    """Add what became of a run to the metrics."""
    ENRICH_CONSUMED.inc(len(outcome.enriched) + len(outcome.bad) + outcome.unmatched)
    ENRICH_PRODUCED.inc(len(outcome.enriched))
    ENRICH_UNMATCHED.inc(outcome.unmatched)
    for bad in outcome.bad:
        DEAD_LETTERS.labels("enrich", bad.reason).inc()
    tally = outcome.tally
    counted = (
        (BRAND_MENTIONS, tally.mentions),
        (BRAND_FAILS, tally.fails),
        (BRAND_QUESTIONS, tally.questions),
    )
    for metric, counts in counted:
        for (brand, language), number in counts.items():
            metric.labels(brand_label(brand), language).inc(number)
