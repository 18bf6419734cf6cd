"""A consumer that hangs with work waiting ends its process; in a real one, on a Kafka of its own."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.enrich.steps import Enricher
from shared.brands import parse_brands
from shared.events import RawMention, parse_mention
from shared.kafka import new_producer
from shared.settings import Settings
from shared.topics import Topic
from tests.conftest import new_stack

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
            assert await ended(service, stack.settings, log) == 1, log.read_text()
            assert '"event": "stalled"' in log.read_text()
    finally:
        await stack.stop()


async def ended(service: str, settings: Settings, log: Path) -> int:
    """Run a service that hangs until it ends; return its exit code."""
    environment = os.environ | {
        "KLANKBORD_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KLANKBORD_CLICKHOUSE_URL": settings.clickhouse_url,
        "KLANKBORD_CLICKHOUSE_DATABASE": settings.clickhouse_database,
        "KLANKBORD_ENRICH_PORT": "0",
        "KLANKBORD_METRICS_PORT": "0",
        "KLANKBORD_CONFIG_FILE": "/nonexistent",
        "KLANKBORD_STALL_SECONDS": "6",
        "KLANKBORD_LOG_FORMAT": "json",
    }
    argv = (sys.executable, "-m", "tests.integration.stuck_process", service)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(60):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
