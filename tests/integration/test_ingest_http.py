"""The ingest service as a process of its own, on a real Kafka: what it acknowledges is on mentions.raw."""

import asyncio
import gzip
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.events import RawMention, parse_mention
from shared.kafka import new_consumer
from shared.settings import PREFIX, Settings
from shared.topics import Topic
from tests.conftest import new_stack
from tests.integration.frozen import frozen

pytestmark = pytest.mark.io

DEADLINE = 20.0
LINES = {"content-type": "application/x-ndjson"}


class Ingest:
    """A running ingest process and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self.client = client

    async def until_ready(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await self._status("/readyz")) != 200:
                await asyncio.sleep(0.02)

    async def until_up(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await self._status("/healthz")) != 200:
                await asyncio.sleep(0.02)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()

    async def _status(self, path: str) -> int | None:
        assert self.process.returncode is None, "ingest ended before it was ready"
        try:
            return (await self.client.get(path)).status_code
        except httpx.TransportError:
            return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def running_ingest(servers: str, directory: Path, **settings: str) -> AsyncIterator[Ingest]:
    """Start ingest as a container does: the console command, and settings from the environment only."""
    port = free_port()
    values = {"kafka_bootstrap_servers": servers, "ingest_port": str(port), "log_format": "json"} | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {PREFIX + name.upper(): value for name, value in values.items()}
    command = Path(sys.executable).with_name("klankbord")
    process = await asyncio.create_subprocess_exec(command, "serve", "ingest", cwd=directory, env=environment)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
            yield Ingest(process, client)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture(scope="module")
async def ingest(kafka_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ingest]:
    directory = tmp_path_factory.mktemp("ingest")
    async with running_ingest(kafka_settings.kafka_bootstrap_servers, directory) as running:
        await running.until_ready()
        yield running


@pytest.fixture
async def raw(kafka_settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """Consume what comes on mentions.raw from now on."""
    consumer = new_consumer(settings=kafka_settings, group_id=None)
    await consumer.start()
    partitions = [TopicPartition(Topic.RAW, n) for n in range(kafka_settings.kafka_partitions)]
    consumer.assign(partitions)
    await consumer.seek_to_end()
    for partition in partitions:
        await consumer.position(partition)
    yield consumer
    await consumer.stop()


async def records_of(consumer: AIOKafkaConsumer, source: str, count: int) -> list[Any]:
    """Return the `count` records of mentions of `source`, and fail when there are more."""
    found: list[Any] = []
    ends = {}
    async with asyncio.timeout(DEADLINE):
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [record for record in records if json.loads(record.value)["source"] == source]
        ends = await consumer.end_offsets(consumer.assignment())
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(partition, timeout_ms=100)).values():
                    found += [record for record in records if json.loads(record.value)["source"] == source]
    assert len(found) == count
    return found


def new_source() -> str:
    return f"test-{uuid4()}"


def mention(source: str, number: int, **fields: Any) -> dict[str, Any]:
    return {
        "source": source,
        "external_id": f"m{number}",
        "text": f"Tekst {number} 😀",
        "published_at": "2026-01-20T10:00:00+01:00",
    } | fields


def lines(items: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(item) for item in items).encode()


async def test_what_is_acknowledged_is_on_kafka_exactly(ingest: Ingest, raw: AIOKafkaConsumer) -> None:
    source = new_source()
    fields = {"brand": "B", "author": "@a", "rating": 4.5, "metadata": {"k": [1, None]}}
    sent = mention(source, 1, **fields, text="<b>a</b>\0b")
    before = datetime.now(UTC)
    response = await ingest.client.post("/v1/mentions", json=sent)
    after = datetime.now(UTC)
    assert response.status_code == 202
    (record,) = await records_of(raw, source, 1)
    event = RawMention.model_validate_json(record.value)
    assert before <= event.received_at <= after
    assert event == RawMention.of(parse_mention(sent, after), event.received_at)
    assert (event.text, response.json()["ids"]) == ("ab", [str(event.id)])
    assert record.key == str(event.id).encode()


async def test_an_array_and_lines_keep_the_valid_ones(ingest: Ingest, raw: AIOKafkaConsumer) -> None:
    source = new_source()
    response = await ingest.client.post("/v1/mentions", json=[mention(source, 1), {"source": source}])
    assert (response.json()["accepted"], response.json()["rejected"][0]["index"]) == (1, 1)
    body = lines([mention(source, 2), {"source": source}, mention(source, 3)])
    response = await ingest.client.post("/v1/mentions", content=body, headers=LINES)
    assert (response.json()["accepted"], response.json()["rejected"][0]["line"]) == (2, 2)
    found = await records_of(raw, source, 3)
    assert {json.loads(record.value)["external_id"] for record in found} == {"m1", "m2", "m3"}


async def test_a_conversation_stays_in_order_in_one_partition(ingest: Ingest, raw: AIOKafkaConsumer) -> None:
    source = new_source()
    items = [mention(source, n, conversation_id=f"{source}-{n % 3}") for n in range(1_500)]
    response = await ingest.client.post("/v1/mentions", content=lines(items), headers=LINES)
    assert response.json() == {"accepted": 1_500, "rejected": []}
    found = await records_of(raw, source, 1_500)
    for thread in range(3):
        own = [record for record in found if record.key == f"{source}-{thread}".encode()]
        assert len({record.partition for record in own}) == 1
        own.sort(key=lambda record: record.offset)
        assert [json.loads(r.value)["external_id"] for r in own] == [f"m{n}" for n in range(thread, 1_500, 3)]


async def test_many_requests_at_once(ingest: Ingest, raw: AIOKafkaConsumer) -> None:
    source = new_source()

    async def send(part: int) -> int:
        items = [mention(source, part * 200 + n) for n in range(200)]
        packed = gzip.compress(lines(items))
        headers = LINES | {"content-encoding": "gzip"}
        return (await ingest.client.post("/v1/mentions", content=packed, headers=headers)).status_code

    assert await asyncio.gather(*(send(part) for part in range(20))) == [202] * 20
    found = await records_of(raw, source, 4_000)
    assert len({record.key for record in found}) == 4_000


async def test_the_counters_tell_what_came_in(ingest: Ingest) -> None:
    async def count(name: str) -> float:
        text = (await ingest.client.get("/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    accepted = 'klankbord_ingest_accepted_total{via="http"}'
    rejected = 'klankbord_ingest_rejected_total{reason="missing",via="http"}'
    before = (await count(accepted), await count(rejected))
    source = new_source()
    await ingest.client.post("/v1/mentions", json=[mention(source, 1), mention(source, 2), {}, {}, {}])
    assert (await count(accepted), await count(rejected)) == (before[0] + 2, before[1] + 3)


async def test_a_stop_lets_the_request_in_flight_finish(
    kafka_settings: Settings, tmp_path: Path, raw: AIOKafkaConsumer
) -> None:
    source = new_source()
    items = [mention(source, n) for n in range(1_000)]
    half = asyncio.Event()
    rest = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield lines(items[:600]) + b"\n"
        half.set()
        await rest.wait()
        yield lines(items[600:])

    async with running_ingest(kafka_settings.kafka_bootstrap_servers, tmp_path) as running:
        await running.until_ready()
        sending = asyncio.create_task(running.client.post("/v1/mentions", content=body(), headers=LINES))
        await half.wait()
        # The first batch on Kafka shows that the service has the request in hand.
        async with asyncio.timeout(DEADLINE):
            while json.loads((first := await raw.getone()).value)["source"] != source:
                pass
        raw.seek(TopicPartition(first.topic, first.partition), first.offset)
        stopping = asyncio.create_task(running.stop())
        async with asyncio.timeout(DEADLINE):
            while not await _refuses_connections(str(running.client.base_url)):
                await asyncio.sleep(0.02)
        rest.set()
        assert (await sending).json() == {"accepted": 1_000, "rejected": []}
        assert await stopping == 0
    found = await records_of(raw, source, 1_000)
    assert len({record.key for record in found}) == 1_000


async def _refuses_connections(url: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            await client.get(url)
    except httpx.TransportError:
        # Refused; or taken by the system just before the socket was closed, and dropped with it.
        return True
    return False


async def test_without_kafka_it_is_up_but_not_ready_and_says_when_to_come_back(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with running_ingest(nobody, tmp_path) as running:
        await running.until_up()
        ready = await running.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["waiting_for"] == {"kafka": f"not connected to {nobody}"}
        response = await running.client.post("/v1/mentions", json=mention(new_source(), 1))
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["retry-after"] == "5"
        assert response.json()["type"] == "urn:klankbord:problem:unavailable"
        assert await running.stop() == 0


async def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        command = Path(sys.executable).with_name("klankbord")
        process = await asyncio.create_subprocess_exec(
            command,
            "serve",
            "ingest",
            cwd=tmp_path,
            env=os.environ | {f"{PREFIX}INGEST_PORT": port},
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            _, errors = await process.communicate()
    assert process.returncode != 0
    assert f"Cannot listen on 127.0.0.1 port {port}" in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_more_than_fits_in_memory_is_refused_at_once_and_the_rest_arrives(tmp_path: Path) -> None:
    kafka = new_stack(tmp_path)
    source = new_source()
    items = [mention(source, n, text="x" * 20_000) for n in range(40)]
    # The body and what it becomes are held: 0.8 MB of the 1 MiB.
    first, second = items[:20], items[20:]
    try:
        await kafka.start()
        servers = kafka.settings.kafka_bootstrap_servers
        async with running_ingest(servers, tmp_path, ingest_max_inflight_bytes="1048576") as running:
            await running.until_ready()
            with frozen(kafka.pids["kafka"]):
                waiting = asyncio.create_task(running.client.post("/v1/mentions", json=first))
                await until_in_flight(running, 800_000)
                refused = await running.client.post("/v1/mentions", json=second)
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) > 0
                assert not waiting.done(), (refused.text, waiting.result().text)
            assert (await waiting).json()["accepted"] == 20
            assert (await running.client.post("/v1/mentions", json=second)).json()["accepted"] == 20
        consumer = new_consumer(settings=kafka.settings, group_id=None)
        await consumer.start()
        try:
            partitions = [TopicPartition(Topic.RAW, n) for n in range(kafka.settings.kafka_partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            await records_of(consumer, source, 40)
        finally:
            await consumer.stop()
    finally:
        await kafka.stop()


async def until_in_flight(ingest: Ingest, least: int) -> None:
    """Wait until ingest holds so many bytes that Kafka has not acknowledged."""
    async with asyncio.timeout(DEADLINE):
        while True:
            shown = (await ingest.client.get("/metrics")).text
            (held,) = re.findall(r"^klankbord_ingest_inflight_bytes (\S+)", shown, re.M)
            if float(held) >= least:
                return
            await asyncio.sleep(0.05)
