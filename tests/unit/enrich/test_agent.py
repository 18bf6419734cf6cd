"""A bad message never blocks a good one, and an outage is waited out."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError

from services.enrich.agent import MAX_EVENT_BYTES, Outcome, count, process, write_until_done
from shared.dead_letters import DeadReason
from shared.events import (
    EnrichedMention,
    Language,
    RawMention,
    SentimentLabel,
    Stage,
    parse_mention,
)
from shared.metrics_catalogue import BRAND_FAILS, BRAND_MENTIONS, Bounded
from tests.unit.metric_values import value_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def record(value: bytes | None, key: bytes | None = b"k", offset: int = 0) -> ConsumerRecord:
    return ConsumerRecord("mentions.raw", 0, offset, 0, 0, key, value, None, 0, 0, ())


def raw(text: str) -> bytes:
    mention = parse_mention(
        {"source": "x", "external_id": text, "text": text, "published_at": "2026-02-01T10:00:00Z"}, NOW
    )
    return RawMention.of(mention, NOW).model_dump_json().encode()


class FakeLabeller:
    """Labels everything alike; drops "nobody" and fails on "bomb"."""

    def enrich(self, raw: RawMention) -> EnrichedMention | None:
        if raw.text == "bomb":
            raise RuntimeError("boom")
        if raw.text == "nobody":
            return None
        return EnrichedMention(
            **raw.model_dump(exclude={"brand"}),
            brand="Acme",
            language=Language.DUTCH,
            sentiment=0,
            sentiment_label=SentimentLabel.NEUTRAL,
            confidence=1,
            is_fail=False,
            is_question=False,
            stage=Stage.OTHER,
            model="test-1",
        )

    def enrich_batch(self, raws: Sequence[RawMention]) -> list[EnrichedMention | None]:
        return [self.enrich(raw) for raw in raws]


LABELLED = FakeLabeller().enrich(RawMention.model_validate_json(raw("c")))
assert LABELLED is not None


def texts(outcome: Outcome) -> list[str]:
    return [EnrichedMention.model_validate_json(message.value).text for message in outcome.enriched]


def test_good_messages_come_through_in_order_with_their_key() -> None:
    outcome = process([record(raw("one"), b"a"), record(raw("two"), b"b")], FakeLabeller())
    assert texts(outcome) == ["one", "two"]
    assert [message.key for message in outcome.enriched] == [b"a", b"b"]
    assert not outcome.bad and outcome.unmatched == 0


def test_a_message_without_a_key_gets_the_mentions_own() -> None:
    (message,) = process([record(raw("one"), None)], FakeLabeller()).enriched
    assert message.key == str(EnrichedMention.model_validate_json(message.value).id).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not json", DeadReason.UNDECODABLE),
        (b"", DeadReason.UNDECODABLE),
        (None, DeadReason.UNDECODABLE),
        (b"\xff\xfe", DeadReason.UNDECODABLE),
        (b"\0" * 100, DeadReason.UNDECODABLE),
        (b"[" * 100_000, DeadReason.UNDECODABLE),
        (b"{}", DeadReason.SCHEMA),
        (b"[1]", DeadReason.SCHEMA),
        (b'{"id": "no uuid"}', DeadReason.SCHEMA),
        (b"x" * (MAX_EVENT_BYTES + 1), DeadReason.TOO_LARGE),
        (raw("bomb"), DeadReason.ENRICHMENT_ERROR),
    ],
)
def test_a_bad_message_is_put_aside_and_the_others_go_on(value: bytes | None, reason: DeadReason) -> None:
    bad = record(value, offset=7)
    outcome = process([record(raw("one")), bad, record(raw("nobody")), record(raw("two"))], FakeLabeller())
    assert texts(outcome) == ["one", "two"]
    assert [(b.record.offset, b.reason) for b in outcome.bad] == [(7, reason)]
    assert outcome.unmatched == 1


class FlakyOutput:
    """Fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: list[Outcome] = []

    async def write(self, outcome: Outcome) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaConnectionError("away")
        self.written.append(outcome)


async def test_an_outage_is_waited_out_with_growing_pauses() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    output, outcome = FlakyOutput(4), Outcome(unmatched=1)
    assert await write_until_done(outcome, output, lambda: False, sleep)
    assert output.written == [outcome]
    assert len(pauses) == 4 and pauses == sorted(pauses) and pauses[-1] > 1


async def test_nothing_is_written_for_a_partition_that_was_taken_away() -> None:
    output = FlakyOutput(0)
    assert not await write_until_done(Outcome(), output, lambda: True)
    assert output.written == []


def test_mentions_are_counted_by_brand_and_language_once_a_run() -> None:
    before = value_of(BRAND_MENTIONS, "Acme", "nl"), value_of(BRAND_MENTIONS, "other", "nl")
    fails = value_of(BRAND_FAILS, "Acme", "nl")
    outcome = process([record(raw("a"), offset=0), record(raw("b"), offset=1)], FakeLabeller())
    outcome.tally.add(LABELLED.model_copy(update={"is_fail": True}))
    outcome.tally.add(LABELLED.model_copy(update={"brand": "Not in klankbord.toml"}))

    count(outcome, Bounded(["Acme"]))

    assert value_of(BRAND_MENTIONS, "Acme", "nl") == before[0] + 3
    assert value_of(BRAND_MENTIONS, "other", "nl") == before[1] + 1
    assert value_of(BRAND_FAILS, "Acme", "nl") == fails + 1
