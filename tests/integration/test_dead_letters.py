"""Dead letters on a real Kafka: put aside, listed, shown, sent again once; over the API too."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from typer.testing import CliRunner

from klankbord.cli import app as cli
from services.api.app import create_app
from services.api.queries import Store
from shared.brands import BrandBook
from shared.clock import SystemClock
from shared.dead_letter_box import DeadLetterBox, Wanted
from shared.dead_letters import DeadReason, bury
from shared.errors import DependencyUnavailable
from shared.kafka import new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic

pytestmark = pytest.mark.io


def _record(value: bytes, offset: int, **fields: object) -> ConsumerRecord:
    known: dict[str, object] = {
        "topic": Topic.RAW.value,
        "partition": 0,
        "offset": offset,
        "timestamp": 1_700_000_000_000,
        "timestamp_type": 0,
        "key": b"k",
        "value": value,
        "checksum": None,
        "serialized_key_size": 1,
        "serialized_value_size": len(value),
        "headers": [("trace", b"abc")],
    }
    return ConsumerRecord(**(known | fields))


@pytest.fixture
async def marker(kafka_settings: Settings) -> str:
    """Put three letters aside whose text holds a mark of their own; return it."""
    mark = uuid4().hex
    producer = new_producer(kafka_settings)
    await producer.start()
    try:
        for number, reason in enumerate((DeadReason.UNDECODABLE, DeadReason.SCHEMA, DeadReason.UNDECODABLE)):
            record = _record(f"{mark} {number} \x1b[31m <b>".encode(), number)
            await bury(producer, record, reason, f"detail {number}", "test")
        foreign = _record(mark.encode(), 9, topic="elsewhere")
        await bury(producer, foreign, DeadReason.TOO_LARGE, "foreign", "test")
    finally:
        await producer.stop()
    return mark


@pytest.fixture
def box(kafka_settings: Settings) -> DeadLetterBox:
    return DeadLetterBox(kafka_settings, SystemClock())


async def test_letters_are_listed_newest_first_and_by_pages(box: DeadLetterBox, marker: str) -> None:
    page = await box.page(Wanted(), 2)
    assert [letter.reason for letter in page.letters] == ["too_large", "undecodable"]
    following = await box.page(Wanted(), 2, page.next)
    assert [letter.detail for letter in following.letters] == ["detail 1", "detail 0"]
    letter = following.letters[0]
    assert (letter.topic, letter.partition, letter.offset, letter.key) == ("mentions.raw", 0, 1, b"k")
    assert letter.headers == (("trace", b"abc"),)
    assert letter.value.startswith(marker.encode())


async def test_letters_are_found_by_reason_and_time(box: DeadLetterBox, marker: str) -> None:
    page = await box.page(Wanted("schema"), 1)
    assert page.letters[0].value.startswith(f"{marker} 1".encode())
    assert not (await box.page(Wanted(since=datetime.now(UTC) + timedelta(hours=1)), 10)).letters


async def test_a_letter_is_sent_again_once_to_where_it_came_from(
    box: DeadLetterBox, marker: str, kafka_settings: Settings
) -> None:
    letters = (await box.page(Wanted(), 4)).letters
    dry = await box.replay(letters, dry_run=True)
    assert (len(dry.sent), len(dry.incomplete)) == (3, 1)
    first, second = await box.replay(letters), await box.replay(letters)
    assert (first.sent, first.before) == (dry.sent, ())
    assert (second.sent, set(second.before)) == ((), set(first.sent))
    assert (await box.replay(letters[1:2], again=True)).sent == (letters[1].number,)
    found = await _raw(kafka_settings, marker)
    assert sorted(record.value[:34] for record in found) == sorted(
        f"{marker} {number}".encode() for number in (0, 1, 2, 2)
    )
    assert dict(found[0].headers)["trace"] == b"abc"
    page = await box.page(Wanted(), 4)
    assert page.replayed == frozenset(first.sent)


async def _raw(settings: Settings, marker: str) -> list[ConsumerRecord]:
    consumer: AIOKafkaConsumer = new_consumer(settings=settings, group_id=None)
    await consumer.start()
    try:
        partitions = [TopicPartition(Topic.RAW, p) for p in range(settings.kafka_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [record for record in records if record.value.startswith(marker.encode())]
        return found
    finally:
        await consumer.stop()


async def test_a_letter_that_is_not_there_is_none(box: DeadLetterBox, marker: str) -> None:
    assert await box.letter(10**9) is None
    newest = (await box.page(Wanted(), 1)).letters[0]
    found = await box.letter(newest.number)
    assert found == (newest, False)


async def test_without_kafka_it_says_so(kafka_settings: Settings) -> None:
    away = kafka_settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(DependencyUnavailable, match="Kafka"):
        await DeadLetterBox(away, SystemClock()).page(Wanted(), 1)


async def test_the_api_shows_them(kafka_settings: Settings, marker: str) -> None:
    app = create_app(kafka_settings, Store(kafka_settings, BrandBook()), SystemClock())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = (await client.get("/v1/dead-letters?reason=undecodable&limit=1")).json()
        (newest,) = answer["dead_letters"]
        assert (newest["detail"], newest["sent_again"]) == ("detail 2", False)
        assert answer["next_below"] == newest["number"]
        detail = (await client.get(f"/v1/dead-letters/{newest['number']}")).json()
        assert detail["text"].startswith(f"{marker} 2")
        assert (await client.get("/v1/dead-letters/999999999")).status_code == 404
        wrong = await client.get("/v1/dead-letters?reason=boredom")
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "reason")


def test_the_command_lists_shows_and_sends_again(
    kafka_settings: Settings, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLANKBORD_KAFKA_BOOTSTRAP_SERVERS", kafka_settings.kafka_bootstrap_servers)
    runner = CliRunner()
    listed = runner.invoke(cli, ["dead", "list", "--limit", "4", "--json"])
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["reason"] for row in rows] == ["too_large", "undecodable", "schema", "undecodable"]
    shown = runner.invoke(cli, ["dead", "show", str(rows[1]["number"])]).stdout
    assert marker in shown
    assert "\x1b" not in shown
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    sent = runner.invoke(cli, ["dead", "replay", str(rows[2]["number"]), "--since", since]).stdout
    assert sent == "sent again: 1\n"
    again = runner.invoke(cli, ["dead", "replay", str(rows[2]["number"])]).stdout
    assert "left alone: 1" in again
