"""A trace through a real Kafka to a collector that is really called."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.enrich.agent import process
from services.enrich.output import KafkaOutput
from services.enrich.steps import Enricher
from services.ingest.budget import Budget
from services.ingest.publish import Publisher
from shared.brands import parse_brands
from shared.clock import SystemClock
from shared.events import parse_mention
from shared.kafka import new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic
from shared.tracing import HEADER, batch_span, name_request, request_span, start_tracing, stop_tracing
from tests.integration.waiting import until

pytestmark = pytest.mark.io
TRACE = uuid4().hex
MENTION = {"source": "t", "external_id": TRACE, "text": "Fijn gesprek bij Acme!", "brand": "Acme"}
Ends = dict[TopicPartition, int]


class Collector(BaseHTTPRequestHandler):
    """Keeps the traces that are sent to it."""

    got: ClassVar[list[ExportTraceServiceRequest]] = []

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["content-length"]))
        body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
        self.got.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


async def ends(settings: Settings, topic: Topic) -> Ends:
    """Return where each partition ends now."""
    consumer = new_consumer(settings=settings, group_id=None)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.value, n) for n in range(settings.kafka_partitions)]
        return dict(await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()


async def next_record(settings: Settings, begins: Ends) -> ConsumerRecord:
    """Return the first record after `begins`."""
    consumer = new_consumer(settings=settings, group_id=None)
    await consumer.start()
    try:
        consumer.assign(list(begins))
        for partition, offset in begins.items():
            consumer.seek(partition, offset)
        return await consumer.getone()
    finally:
        await consumer.stop()


async def connected(publisher: Publisher) -> bool:
    return not await publisher.waiting_for()


async def test_one_trace_goes_from_the_request_to_the_store(kafka_settings: Settings, collector: str) -> None:
    settings = kafka_settings.model_copy(update={"tracing_endpoint": collector, "tracing_ratio": 1.0})
    raw_ends, enriched_ends = await ends(settings, Topic.RAW), await ends(settings, Topic.ENRICHED)
    start_tracing("test", settings)
    publisher = Publisher(settings, SystemClock(), Budget(1_000_000))
    output = KafkaOutput(lambda: new_producer(settings))
    await publisher.start()
    try:
        await until(partial(connected, publisher), partial(asyncio.sleep, 0.05), 30)
        now = datetime.now(UTC)
        mention = parse_mention(MENTION | {"published_at": now.isoformat()}, now)
        with request_span("POST", [(b"traceparent", f"00-{TRACE}-{'3' * 16}-01".encode())]) as span:
            await publisher.publish([mention], "http")
            name_request(span, "POST", "/v1/mentions", 202)
        raw = await next_record(settings, raw_ends)
        with batch_span("enrich", Topic.RAW, [raw]):
            outcome = process([raw], Enricher(parse_brands('[[brands]]\nname = "Acme"')))
        await output.write(outcome)
        enriched = await next_record(settings, enriched_ends)
        with batch_span("store", Topic.ENRICHED, [enriched]):
            pass
    finally:
        await publisher.stop()
        await output.stop()
        stop_tracing()
    assert dict(raw.headers)[HEADER] == dict(enriched.headers)[HEADER]
    spans = {
        span.name: span
        for request in Collector.got
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert set(spans) == {"POST /v1/mentions", "enrich mentions.raw", "store mentions.enriched"}
    assert spans["POST /v1/mentions"].trace_id.hex() == TRACE
    for name in ("enrich mentions.raw", "store mentions.enriched"):
        (link,) = spans[name].links
        assert (link.trace_id.hex(), link.span_id) == (TRACE, spans["POST /v1/mentions"].span_id)
    assert b"Fijn gesprek" not in b"".join(request.SerializeToString() for request in Collector.got)
