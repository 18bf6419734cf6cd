"""A consumer that hangs ends its process, and so does a worker whose Kafka does; on a Kafka of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import any_free
from services.enrich.steps import Enricher
from shared.brands import parse_brands
from shared.events import RawMention, parse_mention
from shared.kafka import new_producer
from shared.settings import Settings
from shared.topics import Topic
from tests.conftest import new_stack
from tests.integration.frozen import frozen
from tests.integration.test_ingest_http import LINES, lines, mention, running_ingest
from tests.integration.waiting import answers, until

pytestmark = pytest.mark.io
NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def put_in(settings: Settings) -> None:
    """Put one mention on mentions.raw and one on mentions.enriched."""
    given = {
        "source": "stuck",
        "text": "Niks gehoord",
        "brand": "Acme",
        "published_at": "2026-02-01T10:00:00Z",
    }
    raw = RawMention.of(parse_mention(given, NOW), NOW)
    enriched = Enricher(parse_brands("")).label(raw)
    producer = new_producer(settings)
    await producer.start()
    try:
        for topic, event in ((Topic.RAW, raw), (Topic.ENRICHED, enriched)):
            await producer.send_and_wait(topic, event.model_dump_json().encode(), raw.key)
    finally:
        await producer.stop()


async def test_a_consumer_that_hangs_with_work_waiting_ends_its_process(tmp_path: Path) -> None:
    stack = new_stack(tmp_path)
    try:
        await stack.start()
        await put_in(stack.settings)
        for service in ("enrich", "metrics"):
            log = tmp_path / f"{service}.log"
            async with running("stuck_process", service, stack.settings, log) as process:
                assert await process.wait() == 1, log.read_text()
            assert '"event": "stalled"' in log.read_text()
    finally:
        await stack.stop()


async def test_who_is_told_to_stop_ends_also_when_kafka_does_not_answer(tmp_path: Path) -> None:
    stack, log, port = new_stack(tmp_path), tmp_path / "worker.log", any_free("127.0.0.1")
    try:
        await stack.start()
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
            running("enrich_worker_process", "test-frozen", stack.settings, log, port) as worker,
            running_ingest(stack.settings.kafka_bootstrap_servers, tmp_path) as ingest,
        ):
            await ingest.until_ready()
            await until(partial(answers, client, "/readyz"), partial(asyncio.sleep, 0.2))
            with frozen(stack.pids["kafka"]):
                worker.send_signal(signal.SIGTERM)
                body = lines([mention("frozen", number) for number in range(100)])
                posting = asyncio.create_task(ingest.client.post("/v1/mentions", content=body, headers=LINES))
                await asyncio.sleep(0.5)
                assert await ingest.stop() == 0
                assert (await posting).status_code == httpx.codes.SERVICE_UNAVAILABLE
                assert await worker.wait() == 0, log.read_text()
        assert '"event": "stopped_before_done"' in log.read_text()
    finally:
        await stack.stop()


@asynccontextmanager
async def running(
    module: str, argument: str, settings: Settings, log: Path, enrich_port: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a service as a process, a minute at most."""
    environment = os.environ | {
        "KLANKBORD_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KLANKBORD_CLICKHOUSE_URL": settings.clickhouse_url,
        "KLANKBORD_CLICKHOUSE_DATABASE": settings.clickhouse_database,
        "KLANKBORD_ENRICH_PORT": str(enrich_port),
        "KLANKBORD_METRICS_PORT": "0",
        "KLANKBORD_CONFIG_FILE": "/nonexistent",
        "KLANKBORD_STALL_SECONDS": "6",
        "KLANKBORD_LOG_FORMAT": "json",
    }
    argv = (sys.executable, "-m", f"tests.integration.{module}", argument)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
