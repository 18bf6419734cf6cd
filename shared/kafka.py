"""Kafka clients with the promises built in: acks from all replicas, idempotent, bounded."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from shared.settings import Settings

log = structlog.get_logger()

_SENDER_SECONDS = 0.5
"""How long what was sent last may still be answered, once there is no more time to flush."""


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the options that every aiokafka client needs to reach the brokers."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "client_id": "klankbord",
        "security_protocol": settings.kafka_security_protocol,
    }
    if "SSL" in settings.kafka_security_protocol:
        cafile = str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
        options["ssl_context"] = ssl.create_default_context(cafile=cafile)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = password.get_secret_value() if password else None
    return options


def new_producer(settings: Settings) -> AIOKafkaProducer:
    """Return a producer, not started: acks=all, idempotent, so a retry is never a second message."""
    return AIOKafkaProducer(
        **connection_options(settings),
        acks="all",
        enable_idempotence=True,
        # A third of the time that aiokafka's lz4 takes, which is at its highest level, and a quarter smaller.
        compression_type="zstd",
        linger_ms=5,
        max_batch_size=262_144,
        # The default of 1 MiB would refuse one mention whose text is all escapes.
        max_request_size=8_388_608,
        request_timeout_ms=20_000,
    )


def new_consumer(*topics: str, settings: Settings, group_id: str | None) -> AIOKafkaConsumer:
    """Return a consumer, not started: from the earliest offset, committing only when told to."""
    return AIOKafkaConsumer(
        *topics,
        **connection_options(settings),
        group_id=group_id,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4_194_304,
        # How long the partitions of a process that was killed lie idle.
        session_timeout_ms=10_000,
        max_poll_interval_ms=600_000,
    )


async def close_producer(producer: AIOKafkaProducer, seconds: float) -> bool:
    """Flush and close `producer`, for at most `seconds`; return whether all that it held was acknowledged.

    With Kafka away the producer's own stop() would wait for ever.
    """
    try:
        async with asyncio.timeout(seconds):
            await producer.stop()
    except TimeoutError:
        with contextlib.suppress(TimeoutError):
            # By itself it waits for the answers to what it sent, 40 seconds each.
            async with asyncio.timeout(_SENDER_SECONDS):
                await producer._sender.close()
        await producer.client.close()
        return False
    return True


async def wait_for_topics(settings: Settings, topics: Sequence[str], stopping: asyncio.Event) -> bool:
    """Wait, with backoff and visibly, until the brokers answer and have `topics`.

    Return False when `stopping` was set first.
    """
    delay = 0.1
    while not stopping.is_set():
        missing = await _missing_topics(settings, topics)
        if not missing:
            return True
        log.info("waiting_for_kafka", reason=missing, retry_in_seconds=round(delay, 1))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), delay)
        delay = min(delay * 2, 5.0)
    return False


async def _missing_topics(settings: Settings, topics: Sequence[str]) -> str:
    """Return why not all topics are there; empty when they are."""
    admin = AIOKafkaAdminClient(**connection_options(settings))
    try:
        await admin.start()
        missing = sorted(set(topics) - set(await admin.list_topics()))
    except (KafkaError, OSError) as error:
        return repr(error)
    finally:
        await admin.close()
    return f"no topic {', '.join(missing)} yet; create them with: klankbord topics" if missing else ""
