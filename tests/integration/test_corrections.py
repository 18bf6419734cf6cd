"""Corrections and own posts on a real Kafka and the real engine: they win whenever they come."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest
from aiokafka import TopicPartition
from clickhouse_connect.driver.client import Client

from services.api.buckets import Interval
from services.api.queries import Store
from services.api.selection import Filters, Metric
from services.enrich.again import Again, run_reenrich
from services.enrich.model import shipped, version_of
from services.metrics.corrections import exported
from services.metrics.spike_store import SpikeStore
from shared.brands import BrandBook
from shared.clickhouse import connect
from shared.correction_events import CorrectedLabel, Correction, Value
from shared.events import NAMESPACE
from shared.kafka import new_consumer, new_producer
from shared.topics import Topic
from tests.integration.test_sink import ACME, Bench, running, until
from tests.integration.test_sink import bench as empty_bench  # noqa: F401  (a fixture)
from tests.unit.metrics.events import PUBLISHED, message

pytestmark = pytest.mark.io
EVER = Filters(PUBLISHED - timedelta(days=1), PUBLISHED + timedelta(days=1))
SAID_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def id_of(name: str) -> UUID:
    return uuid5(NAMESPACE, name)


async def correct(bench: Bench, name: str, label: str, value: Value, second: int = 0) -> None:
    """Say what a label of the mention `name` should be; wait until it is on Kafka."""
    event = Correction(
        mention_id=id_of(name),
        label=CorrectedLabel(label),
        value=value,
        by="Noor",
        corrected_at=SAID_AT + timedelta(seconds=second),
    )
    await send(bench, event.model_dump_json().encode(), event.key)


async def send(bench: Bench, value: bytes, key: bytes = b"k") -> None:
    producer = new_producer(bench.settings)
    await producer.start()
    try:
        await producer.send_and_wait(Topic.CORRECTIONS, value, key)
    finally:
        await producer.stop()


async def figures(bench: Bench) -> dict[Metric, set[int]]:
    """Return what the API counts, from the rollup and from the mentions themselves."""
    store = Store(bench.settings, BrandBook())
    odd = Filters(EVER.start + timedelta(seconds=1), EVER.end)
    try:
        found: dict[Metric, set[int]] = {}
        for metric in (Metric.MENTIONS, Metric.FAILS, Metric.QUESTIONS, Metric.NEGATIVE, Metric.UNSURE):
            found[metric] = set()
            for filters in (EVER, odd):
                (series,) = await store.timeseries(metric, Interval.DAY, "UTC", filters)
                found[metric].add(sum(int(point.value or 0) for point in series.points))
        return found
    finally:
        store.close()


async def settled(bench: Bench, expected: dict[Metric, int]) -> None:
    """Wait until the API counts `expected`, both ways."""

    async def counted() -> bool:
        found = await figures(bench)
        return all(found[metric] == {n} for metric, n in expected.items())

    await until(counted)


async def kept(bench: Bench, corrections: int) -> None:
    """Wait until so many corrections are stored: one that changes no count is not waited for by `settled`."""

    def stored() -> bool:
        with connect(bench.settings) as client:
            return client.query("SELECT count() FROM corrections FINAL").result_rows == [(corrections,)]

    await until(stored)


@pytest.fixture
def corrected(empty_bench: Bench) -> Bench:  # noqa: F811
    """Return a database, and a consumer group that begins at the end of both topics."""
    return empty_bench


async def test_a_correction_wins_in_every_count_and_can_be_taken_back(corrected: Bench) -> None:
    await corrected.send(message("a"), message("b", is_question=True))
    async with running(corrected):
        await settled(corrected, {Metric.MENTIONS: 2, Metric.FAILS: 2, Metric.NEGATIVE: 2})
        await correct(corrected, "a", "fail", value=False)
        await correct(corrected, "a", "sentiment", "positive")
        await correct(corrected, "b", "question", value=False)
        await settled(
            corrected, {Metric.MENTIONS: 2, Metric.FAILS: 1, Metric.NEGATIVE: 1, Metric.QUESTIONS: 0}
        )
        await correct(corrected, "a", "fail", None, second=1)
        await settled(corrected, {Metric.FAILS: 2, Metric.NEGATIVE: 1})


async def test_a_correction_may_come_before_the_mention_and_survives_replays_and_edits(
    corrected: Bench,
) -> None:
    async with running(corrected):
        await correct(corrected, "early", "fail", value=False)
        await correct(corrected, "early", "stage", "offer")
        await asyncio.sleep(1)
        await corrected.send(message("early"))
        await settled(corrected, {Metric.MENTIONS: 1, Metric.FAILS: 0})
        await corrected.send(message("early"), message("early", version=5, hour=2))
        await until(lambda: corrected.mentions() == [(ACME, "Nog niets gehoord, early 5")])
        await settled(corrected, {Metric.MENTIONS: 1, Metric.FAILS: 0})
    store = Store(corrected.settings, BrandBook())
    try:
        mention = await store.mention(id_of("early"))
        assert mention is not None
        assert (mention.is_fail, mention.stage, set(mention.corrected)) == (False, "offer", {"fail", "stage"})
    finally:
        store.close()


async def test_of_two_corrections_the_later_wins_whichever_arrives_last(corrected: Bench) -> None:
    await corrected.send(message("a"))
    async with running(corrected):
        await correct(corrected, "a", "fail", value=False, second=9)
        await settled(corrected, {Metric.MENTIONS: 1, Metric.FAILS: 0})
        await correct(corrected, "a", "fail", value=True, second=1)
        await correct(corrected, "a", "question", value=True, second=1)
        await settled(corrected, {Metric.QUESTIONS: 1, Metric.FAILS: 0})


async def test_a_message_that_is_no_correction_is_put_aside(corrected: Bench) -> None:
    await corrected.send(message("a"))
    async with running(corrected):
        await send(corrected, b"not json")
        wrong = json.dumps({"mention_id": str(id_of("a")), "label": "fail", "value": "perhaps", "by": "x",
                            "corrected_at": SAID_AT.isoformat()})  # fmt: skip
        await send(corrected, wrong.encode())
        await correct(corrected, "a", "fail", value=False)
        await settled(corrected, {Metric.MENTIONS: 1, Metric.FAILS: 0})
    consumer = new_consumer(settings=corrected.settings, group_id=None)
    await consumer.start()
    try:
        partition = TopicPartition(Topic.DEAD.value, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, max(end - 2, 0))
        reasons = [dict((await consumer.getone()).headers)["reason"] for _ in range(2)]
    finally:
        await consumer.stop()
    assert sorted(reasons) == [b"schema", b"undecodable"]


async def test_what_the_employer_posts_is_kept_and_does_not_count(corrected: Bench) -> None:
    own = message("own", author_kind="employer", is_fail=False, sentiment_label="neutral", sentiment=0)
    unsure = message("unsure", author_kind="candidate", sentiment_unsure=True, sentiment_label="neutral")
    await corrected.send(own, unsure)
    async with running(corrected):
        await settled(corrected, {Metric.MENTIONS: 1, Metric.FAILS: 1, Metric.UNSURE: 1})
        # Somebody else's after all.
        await correct(corrected, "own", "author_kind", "candidate")
        await settled(corrected, {Metric.MENTIONS: 2})
        await correct(corrected, "unsure", "author_kind", "employer")
        await settled(corrected, {Metric.MENTIONS: 1, Metric.FAILS: 0, Metric.UNSURE: 0})
    store = Store(corrected.settings, BrandBook())
    try:
        listed = await store.mentions(EVER, 10)
        assert [mention.external_id for mention in listed.items] == ["own"]
        (brand,) = await store.brands()
        assert brand.mentions == 1
    finally:
        store.close()
    spikes = SpikeStore.open(corrected.settings)
    try:
        assert spikes.recent(EVER.start, EVER.end) == []
    finally:
        spikes.close()


async def test_accuracy_counts_agreement_by_month_and_label(corrected: Bench) -> None:
    await corrected.send(*(message(f"m{number}", topics=["salary"]) for number in range(25)))
    async with running(corrected):
        await settled(corrected, {Metric.MENTIONS: 25})
        for number in range(25):
            await correct(corrected, f"m{number}", "fail", value=number % 5 != 0)
        await correct(corrected, "m0", "topics", ("culture", "salary"))
        await correct(corrected, "m1", "topics", ("salary",))
        await settled(corrected, {Metric.FAILS: 20})
        await kept(corrected, 27)
    store = Store(corrected.settings, BrandBook())
    try:
        fail, topics = await store.accuracy(Filters(EVER.start, EVER.end, (ACME,), author_kinds=()), "UTC")
        assert await store.accuracy(Filters(EVER.start, EVER.end, ("Nobody",), author_kinds=()), "UTC") == []
    finally:
        store.close()
    assert (fail.month, fail.label, fail.checked, fail.agreed, fail.share) == ("2026-09", "fail", 25, 20, 0.8)
    assert fail.interval == (0.6087, 0.9114)
    assert (topics.label, topics.checked, topics.agreed, topics.share) == ("topics", 2, 1, None)


async def test_corrections_come_out_as_training_data(corrected: Bench) -> None:
    await corrected.send(message("a"), message("b"))
    async with running(corrected):
        await correct(corrected, "a", "sentiment", "neutral")
        await correct(corrected, "a", "fail", value=False)
        await correct(corrected, "b", "topics", ("salary",))
        await settled(corrected, {Metric.MENTIONS: 2, Metric.FAILS: 1})
        await kept(corrected, 3)
    lines = {line["text"]: line for line in exported(corrected.settings)}
    assert lines == {
        "Nog niets gehoord, a 0": {
            "text": "Nog niets gehoord, a 0",
            "lang": "nl",
            "kind": "post",
            "sentiment": "neutral",
            "fail": False,
        },
        "Nog niets gehoord, b 0": {
            "text": "Nog niets gehoord, b 0",
            "lang": "nl",
            "kind": "post",
            "topics": ["salary"],
        },
    }


async def test_stored_mentions_are_labelled_anew_and_count_once(corrected: Bench) -> None:
    told: list[str] = []
    await corrected.send(
        *(message(f"m{n}", hour=n % 3, model="old 1", text="Fijn gesprek!") for n in range(7))
    )
    async with running(corrected):
        await correct(corrected, "m0", "fail", value=True)
        await settled(corrected, {Metric.MENTIONS: 7, Metric.FAILS: 7})
        again = Again(EVER.start, EVER.end, ACME)
        assert await asyncio.to_thread(run_reenrich, corrected.settings, again, told.append) == 0
        # Praise is no #fail to the model; what a person said stays.
        await settled(corrected, {Metric.MENTIONS: 7, Metric.FAILS: 1, Metric.NEGATIVE: 0})
    assert told[-1].startswith("7 mentions sent on with klankbord-linear-1")
    with connect(corrected.settings) as client:
        assert models(client) == {version_of(shipped())}


def models(client: Client) -> set[Any]:
    return {row[0] for row in client.query("SELECT DISTINCT model FROM mentions FINAL").result_rows}
