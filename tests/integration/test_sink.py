"""The sink on a real Kafka and the real engine: replays, edits, poison, outages, rebalances, kills."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from clickhouse_connect.driver.client import Client

from services.metrics.migrate import migrate
from services.metrics.positions import Hour, resolve
from services.metrics.sink import GROUP_ID, Sink
from services.metrics.store import ClickHouseStore
from services.metrics.writer import deduplication_token, write
from shared.clickhouse import connect
from shared.errors import DependencyUnavailable
from shared.kafka import new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic
from tests.integration import waiting
from tests.unit.metrics.events import event, message

pytestmark = pytest.mark.io
Offsets = dict[TopicPartition, int]
ACME, BETA = "Acme Zorg", "Beta Bouw"


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until `condition` holds; fail after `seconds`."""
    await waiting.until(condition, partial(asyncio.sleep, 0.05), seconds)


class Gate:
    """A TCP proxy before ClickHouse that can be shut, as an outage would."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        self._writers -= {writer, there_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Bench:
    """A database and a consumer group of one's own, beginning at the present end of the topic."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, client: Client) -> None:
        self.settings, self.group = settings, f"test-sink-{uuid4()}"
        self._producer, self._client = producer, client
        numbers = range(settings.kafka_partitions)
        self._partitions = [TopicPartition(Topic.ENRICHED.value, number) for number in numbers]

    async def send(self, *values: bytes, partition: int = 0) -> None:
        """Send messages, in this order."""
        for value in values:
            await self._producer.send_and_wait(Topic.ENRICHED, value, b"key", partition=partition)

    async def send_many(self, values: Iterable[bytes]) -> None:
        """Send messages over all partitions, quickly."""
        futures = [await self._producer.send(Topic.ENRICHED, value) for value in values]
        await asyncio.gather(*futures)

    async def ends(self) -> Offsets:
        """Return the end of each partition."""
        consumer = new_consumer(settings=self.settings, group_id=None)
        await consumer.start()
        try:
            return dict(await consumer.end_offsets(self._partitions))
        finally:
            await consumer.stop()

    async def committed(self, group: str | None = None) -> Offsets:
        """Return what the group has committed."""
        consumer = new_consumer(settings=self.settings, group_id=group or self.group)
        await consumer.start()
        try:
            return {partition: await consumer.committed(partition) or 0 for partition in self._partitions}
        finally:
            await consumer.stop()

    async def rewind(self, offsets: Offsets, group: str | None = None) -> None:
        """Commit `offsets` for the group, which has no member now; corrections it reads from their end."""
        consumer = new_consumer(settings=self.settings, group_id=group or self.group)
        await consumer.start()
        try:
            corrections = await consumer.end_offsets([TopicPartition(Topic.CORRECTIONS.value, 0)])
            consumer.assign([*offsets, *corrections])
            await consumer.commit(offsets | corrections)
        finally:
            await consumer.stop()

    async def all_committed(self) -> bool:
        """Whether the group has committed everything there is."""
        return await self.committed() == await self.ends()

    def mentions(self) -> list[tuple[str, str]]:
        """Return brand and text of each mention that is shown."""
        rows = self._client.query("SELECT brand, text FROM mentions FINAL ORDER BY text").result_rows
        return [(brand, text) for brand, text in rows]

    def figures(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return {(brand, UTC hour of the day): (mentions, fails)} as the rollup has it."""
        rows = self._client.query(
            "SELECT brand, toHour(hour), sum(mentions), sum(fails) FROM mentions_hourly FINAL "
            "GROUP BY brand, hour"
        ).result_rows
        return {(brand, hour): (mentions, fails) for brand, hour, mentions, fails in rows}

    def totals(self) -> tuple[int, int, int]:
        """Return mentions shown, their distinct ids, and the rollup's total."""
        ((shown, distinct),) = self._client.query(
            "SELECT count(), uniqExact(id) FROM mentions FINAL"
        ).result_rows
        ((rolled_up,),) = self._client.query("SELECT sum(mentions) FROM mentions_hourly FINAL").result_rows
        return shown, distinct, rolled_up

    def command(self, sql: str) -> None:
        """Run a statement."""
        self._client.command(sql)


@pytest.fixture
async def bench(store_settings: Settings) -> AsyncIterator[Bench]:
    own = {"clickhouse_database": f"test_{uuid4().hex}", "sink_max_seconds": 0.1}
    settings = store_settings.model_copy(update=own)
    migrate(settings)
    producer = new_producer(settings)
    await producer.start()
    try:
        with connect(settings) as client:
            bench = Bench(settings, producer, client)
            await bench.rewind(await bench.ends())
            yield bench
            bench.command(f"DROP DATABASE {settings.clickhouse_database}")
    finally:
        await producer.stop()


@asynccontextmanager
async def running(
    bench: Bench,
    open_store: Callable[[Settings], ClickHouseStore] = ClickHouseStore.open,
    **changes: Any,
) -> AsyncIterator[Sink]:
    """Run a sink during the body; it stops as on SIGTERM."""
    sink = Sink(bench.settings.model_copy(update=changes), group_id=bench.group, open_store=open_store)
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        sink.stop()
        await asyncio.wait_for(task, 10)


async def consume(bench: Bench, **changes: Any) -> None:
    """Run a sink until the group has committed everything."""
    async with running(bench, **changes):
        await until(bench.all_committed)


async def test_messages_become_mentions_and_figures(bench: Bench) -> None:
    await bench.send(message("a"), message("b", hour=1, is_fail=False))
    await bench.send(message("c", brand=BETA), partition=1)
    await consume(bench)
    assert [brand for brand, _ in bench.mentions()] == [ACME, ACME, BETA]
    assert bench.figures() == {(ACME, 0): (1, 1), (ACME, 1): (1, 0), (BETA, 0): (1, 1)}


async def test_every_column_is_stored(bench: Bench) -> None:
    await bench.send(
        message(
            "a", author={"name": "Jan", "handle": "@jan"}, url="https://x.example/1", kind="review",
            topics=["salaris", "reactie"], hashtags=["fail"], fail_terms=["niets gehoord"], rating=2.5,
            metadata={"a": [1]}, author_kind="employee", sentiment_unsure=True,
            other_brands=[BETA], conversation_id="c", in_reply_to="r", text="Tab\tquote ' é 😀 \\N",
        )
    )  # fmt: skip
    await consume(bench)
    with connect(bench.settings) as client:
        stored = client.query("SELECT * FROM mentions FINAL").first_item or {}
    wanted = event(message("a")).position
    assert (stored.pop("id"), stored.pop("version")) == (wanted.id, wanted.version)
    assert stored.pop("published_at").isoformat() == "2026-09-01T00:00:00"
    assert stored.pop("received_at").isoformat() == "2026-10-01T00:00:00"
    assert stored == {
        "is_deleted": 0, "brand": ACME, "source": "linkedin", "external_id": "a", "kind": "review",
        "language": "nl", "stage": "silence", "author_kind": "employee", "sentiment": -0.5,
        "sentiment_label": "negative", "sentiment_unsure": True,
        "confidence": 0.75, "is_fail": True, "is_question": False, "fail_terms": ["niets gehoord"],
        "topics": ["salaris", "reactie"], "hashtags": ["fail"], "other_brands": [BETA], "author_name": "Jan",
        "author_handle": "@jan", "text": "Tab\tquote ' é 😀 \\N", "url": "https://x.example/1",
        "in_reply_to": "r", "conversation_id": "c", "rating": 2.5, "rating_scale": 5.0,
        "metadata": '{"a":[1]}', "model": "test 1",
    }  # fmt: skip


async def test_a_replay_counts_nothing_twice(bench: Bench) -> None:
    start = await bench.ends()
    await bench.send_many(message(str(number), hour=number % 5) for number in range(200))
    await consume(bench)
    once = bench.figures()
    assert bench.totals() == (200, 200, 200)
    # The same batches, and then others.
    for max_rows in (50_000, 7):
        await bench.rewind(start)
        await consume(bench, sink_max_rows=max_rows)
        assert bench.totals() == (200, 200, 200)
        assert bench.figures() == once


async def test_an_edit_of_brand_and_hour_empties_the_old_place(bench: Bench) -> None:
    await bench.send(message("a"), message("b"))
    await consume(bench)
    await bench.send(message("a", version=1, brand=BETA, hour=3))
    await consume(bench)
    assert bench.figures() == {(ACME, 0): (1, 1), (BETA, 3): (1, 1)}
    await bench.send(message("b", version=1, brand=BETA, hour=3))
    await consume(bench)
    assert bench.figures() == {(BETA, 3): (2, 2)}
    assert [brand for brand, _ in bench.mentions()] == [BETA, BETA]


async def test_an_edit_of_the_labels_replaces_them_in_place(bench: Bench) -> None:
    await bench.send(message("a"))
    await consume(bench)
    await bench.send(message("a", version=1, is_fail=False, language="en"))
    await consume(bench)
    assert bench.figures() == {(ACME, 0): (1, 0)}
    assert bench.mentions() == [(ACME, "Nog niets gehoord, a 1")]


async def test_an_older_event_does_not_come_back(bench: Bench) -> None:
    """Also not from another partition, where it lands when the conversation was edited."""
    await bench.send(message("a", version=2, brand=BETA))
    await consume(bench)
    await bench.send(message("a", version=1, brand=ACME), partition=1)
    await consume(bench)
    assert bench.mentions() == [(BETA, "Nog niets gehoord, a 2")]
    assert bench.figures() == {(BETA, 0): (1, 1)}


async def test_poison_is_put_aside_and_the_others_go_in(bench: Bench) -> None:
    poison = b'{"not": "a mention"}'
    async with dead_letters(bench.settings) as buried:
        await bench.send(message("a"), poison, message("b"), b"\xff", message("c"))
        await consume(bench)
        letters = await buried(2)
    assert [text for _, text in bench.mentions()] == [f"Nog niets gehoord, {name} 0" for name in "abc"]
    assert [(letter.value, letter.key) for letter in letters] == [(poison, b"key"), (b"\xff", b"key")]
    first = dict(letters[0].headers)
    assert (first["reason"], first["service"], first["topic"], first["partition"]) == (
        b"schema", b"metrics", b"mentions.enriched", b"0",
    )  # fmt: skip
    assert int(first["offset"]) + 2 == int(dict(letters[1].headers)["offset"])
    assert dict(letters[1].headers)["reason"] == b"undecodable"


async def test_a_row_that_clickhouse_refuses_is_put_aside_alone(bench: Bench) -> None:
    bench.command("ALTER TABLE mentions ADD CONSTRAINT polite CHECK text != 'refuse me'")
    async with dead_letters(bench.settings) as buried:
        await bench.send(*(message(str(n), text="refuse me" if n == 4 else f"text {n}") for n in range(10)))
        await consume(bench)
        letters = await buried(1)
    assert [text for _, text in bench.mentions()] == [f"text {n}" for n in range(10) if n != 4]
    assert bench.figures() == {(ACME, 0): (9, 9)}
    assert letters[0].value == message("4", text="refuse me")
    assert dict(letters[0].headers)["reason"] == b"refused_by_store"


async def test_an_outage_is_waited_out(bench: Bench) -> None:
    gate = Gate(bench.settings.clickhouse_url)
    await gate.open()
    async with running(bench, clickhouse_url=f"http://127.0.0.1:{gate.port}") as sink:
        await bench.send(message("a"))
        await until(bench.all_committed)
        before = await bench.committed()
        await gate.shut()
        await bench.send_many(message(f"b{number}") for number in range(100))
        await until(lambda: "clickhouse" in sink.waiting_for)
        assert await bench.committed() == before
        await gate.open()
        await until(bench.all_committed)
        assert "clickhouse" not in sink.waiting_for
    await gate.shut()
    assert bench.totals() == (101, 101, 101)


async def test_a_stop_during_an_outage_is_quick_and_loses_nothing(bench: Bench, unused_tcp_port: int) -> None:
    await bench.send(message("a"))
    before = await bench.committed()
    away = f"http://127.0.0.1:{unused_tcp_port}"
    async with running(bench, clickhouse_url=away) as sink:
        await until(lambda: "clickhouse" in sink.waiting_for)
        sink.stop()
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 5
    assert await bench.committed() == before
    await consume(bench)
    assert bench.totals() == (1, 1, 1)


async def test_a_stop_while_kafka_is_away_is_quick(bench: Bench, unused_tcp_port: int) -> None:
    async with running(bench, kafka_bootstrap_servers=f"127.0.0.1:{unused_tcp_port}") as sink:
        await until(lambda: sink.waiting_for.get("kafka") == "KafkaConnectionError")
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 5


async def test_tables_that_are_missing_are_waited_for(bench: Bench) -> None:
    bench.command("RENAME TABLE mentions TO mentions_away")
    await bench.send(message("a"))
    async with running(bench) as sink:
        await until(lambda: "clickhouse" in sink.waiting_for)
        assert "mentions" in sink.waiting_for["clickhouse"]
        bench.command("RENAME TABLE mentions_away TO mentions")
        await until(bench.all_committed)
    assert bench.totals() == (1, 1, 1)


class UncountedStore(ClickHouseStore):
    """A store whose recounts fail for as long as `blocked` is there."""

    blocked: Path

    def recount(self, hours: Iterable[Hour]) -> None:
        """Recount, unless blocked."""
        if self.blocked.exists():
            raise DependencyUnavailable("ClickHouse", "blocked by the test")
        super().recount(hours)


async def test_offsets_are_committed_only_after_the_recount(bench: Bench, tmp_path: Path) -> None:
    class Blocked(UncountedStore):
        blocked = tmp_path / "blocked"

    Blocked.blocked.touch()
    before = await bench.committed()
    await bench.send(message("a"))
    async with running(bench, Blocked.open) as sink:
        await until(lambda: "clickhouse" in sink.waiting_for)
        assert len(bench.mentions()) == 1
        assert bench.figures() == {}
        assert await bench.committed() == before
        Blocked.blocked.unlink()
        await until(bench.all_committed)
    assert bench.figures() == {(ACME, 0): (1, 1)}


async def test_workers_that_come_and_go_lose_and_double_nothing(bench: Bench) -> None:
    async def send() -> None:
        for start in range(0, 600, 20):
            await bench.send_many(message(str(n), hour=n % 24) for n in range(start, start + 20))
            await asyncio.sleep(0.05)

    sending = asyncio.create_task(send())
    async with running(bench, sink_max_rows=50) as first:
        await until(lambda: not first.waiting_for)
        async with running(bench, sink_max_rows=50) as second:
            await until(lambda: not second.waiting_for)
            await until(lambda: len(bench.mentions()) > 200)
        await sending
        await until(bench.all_committed)
    assert bench.totals() == (600, 600, 600)


def test_a_retry_of_an_insert_that_was_made_in_part_completes_it(bench: Bench) -> None:
    """Each year is a part of its own: a crash may leave one of an insert's parts and not the others."""
    old, new = (
        event(message(name, published_at=f"{year}-06-01T00:00:00Z"))
        for name, year in (("a", 2024), ("b", 2025))
    )
    store = ClickHouseStore.open(bench.settings)
    token = deduplication_token(resolve([old, new], {}))
    store.insert([old.row], token)
    for _ in range(2):
        store.insert([old.row, new.row], token)
        with connect(bench.settings) as client:
            assert client.query("SELECT count() FROM mentions").result_rows == [(2,)]
    store.close()


def test_the_later_of_two_recounts_wins_also_when_the_clock_went_back(bench: Bench) -> None:
    store = ClickHouseStore.open(bench.settings)
    bench.command(
        "INSERT INTO mentions_hourly (brand, hour, source, language, stage, mentions, version) "
        f"VALUES ('{ACME}', '2026-09-01 00:00:00', 'linkedin', 'nl', 'silence', 7, 5000000000000000)"
    )
    written = write([event(message("a"))], store)
    store.recount(written.hours)
    assert bench.figures() == {(ACME, 0): (1, 1)}
    store.close()


def test_a_batch_is_let_go_of_without_the_garbage_collector(bench: Bench) -> None:
    """It comes by too seldom for that: the client's inserts, which refer to themselves, kept 100,000 ids."""
    store = ClickHouseStore.open(bench.settings)
    gc.disable()
    try:
        batch = [event(message(f"first-{number}")) for number in range(50)]
        ids = [weakref.ref(one.position.id) for one in batch]
        write(batch, store)
        del batch
        write([event(message("next"))], store)
        assert not any(one() for one in ids)
    finally:
        gc.enable()
        store.close()


DeadLetters = Callable[[int], Awaitable[list[ConsumerRecord]]]


@asynccontextmanager
async def dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    """Yield what waits for so many dead letters, written from now on."""
    consumer = new_consumer(settings=settings, group_id=None)
    await consumer.start()
    partition = TopicPartition(Topic.DEAD.value, 0)
    consumer.assign([partition])
    await consumer.seek_to_end(partition)

    async def read(count: int) -> list[ConsumerRecord]:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(count)]

    try:
        yield read
    finally:
        await consumer.stop()


@pytest.fixture
def service(bench: Bench, tmp_path: Path, unused_tcp_port: int) -> Iterator["Service"]:
    service = Service(bench.settings, tmp_path, unused_tcp_port)
    yield service
    service.end(signal.SIGKILL)


class Service:
    """`klankbord serve metrics`, a process as a container runs it."""

    def __init__(self, settings: Settings, logs: Path, port: int) -> None:
        self._environment = os.environ | {
            "KLANKBORD_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "KLANKBORD_CLICKHOUSE_URL": settings.clickhouse_url,
            "KLANKBORD_CLICKHOUSE_DATABASE": settings.clickhouse_database,
            "KLANKBORD_METRICS_PORT": str(port),
            "KLANKBORD_SINK_MAX_ROWS": "500",
        }
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("klankbord")), "serve", "metrics"]
        with (self._logs / "metrics.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def end(self, signum: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(signum)
        return process.wait(timeout=6)

    async def readiness(self) -> dict[str, object]:
        async with httpx.AsyncClient() as client:
            try:
                answer: dict[str, object] = (await client.get(f"{self.url}/readyz")).json()
            except httpx.TransportError:
                return {}
        return answer

    async def is_ready(self) -> bool:
        return await self.readiness() == {"status": "ready"}


async def test_the_service_waits_for_migrations_and_survives_a_kill(bench: Bench, service: Service) -> None:
    database = bench.settings.clickhouse_database
    await bench.rewind(await bench.ends(), GROUP_ID)
    bench.command(f"DROP DATABASE {database}")
    service.start()
    await until(lambda: _is_waiting_for(service, "migration"))
    migrate(bench.settings)
    await until(service.is_ready)
    await bench.send_many(message(str(number), hour=number % 24) for number in range(3_000))
    await until(lambda: bench.totals()[0] > 0)
    service.end(signal.SIGKILL)
    service.start()
    ends = await bench.ends()

    async def all_committed() -> bool:
        return await bench.committed(GROUP_ID) == ends

    await until(all_committed, seconds=60)
    assert bench.totals() == (3_000, 3_000, 3_000)
    await bench.send(message("last"))
    assert service.end(signal.SIGTERM) == 0


async def _is_waiting_for(service: Service, what: str) -> bool:
    waiting_for = (await service.readiness()).get("waiting_for", {})
    return isinstance(waiting_for, dict) and what in waiting_for
