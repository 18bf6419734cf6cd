"""Tracing: one trace from a request into Kafka's headers, links from batches, and nothing while it is off."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.http_metrics import HttpMetrics, RequestMetrics
from shared.metrics_catalogue import API_IN_PROGRESS, API_REQUEST_SECONDS, API_REQUESTS
from shared.settings import Settings
from shared.tracing import HEADER, MAX_LINKS, batch_span, carried, passed_on, start_tracing, stop_tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED, UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-01", f"00-{TRACE}-b7ad6b7169203331-00"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    start_tracing("test", Settings(tracing_ratio=0), exporter)
    yield exporter
    stop_tracing()


async def get(path: str, **headers: str) -> Any:
    async def answer(_request: Request) -> JSONResponse:
        return JSONResponse([[name, value.decode()] for name, value in carried()])

    async def fail(_request: Request) -> JSONResponse:
        return JSONResponse(None, status_code=503)

    app = Starlette(routes=[Route("/m", answer), Route("/away", fail)])
    metrics = HttpMetrics(API_REQUESTS, API_REQUEST_SECONDS, API_IN_PROGRESS)
    app.add_middleware(RequestMetrics, metrics=metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        return (await client.get(path, headers=headers)).json()


def message(*headers: tuple[str, bytes]) -> SimpleNamespace:
    return SimpleNamespace(headers=headers)


async def test_a_request_goes_on_with_the_trace_it_came_with(spans: InMemorySpanExporter) -> None:
    ((name, value),) = await get("/m?q=secret", **{HEADER: SAMPLED})
    stop_tracing()
    (span,) = spans.get_finished_spans()
    assert span.context is not None
    assert (name, value) == (HEADER, f"00-{TRACE}-{span.context.span_id:016x}-01")
    assert span.name.startswith("GET ")
    assert "secret" not in str(span.attributes) + span.name
    assert (span.attributes or {})["http.response.status_code"] == 200
    assert span.resource.attributes["service.name"] == "klankbord-test"


async def test_a_failure_is_an_error_and_what_nobody_chose_is_not_traced(spans: InMemorySpanExporter) -> None:
    await get("/away", **{HEADER: SAMPLED})
    await get("/away", **{HEADER: UNSAMPLED})
    await get("/away")
    stop_tracing()
    (span,) = spans.get_finished_spans()
    assert span.status.status_code.name == "ERROR"


def test_a_batch_links_to_what_was_sampled_each_once() -> None:
    exporter = InMemorySpanExporter()
    start_tracing("test", Settings(tracing_ratio=1), exporter)
    other = f"00-{'1' * 32}-{'2' * 16}-01".encode()
    messages = [
        message((HEADER, SAMPLED.encode())), message((HEADER, SAMPLED.encode()), ("x", b"y")),
        message(), message((HEADER, b"nonsense")), message((HEADER, UNSAMPLED.encode())),
        message((HEADER, other)),
    ]  # fmt: skip
    with batch_span("store", "mentions.enriched", messages):
        pass
    many = [message((HEADER, f"00-{TRACE}-{number:016x}-01".encode())) for number in range(1, 500)]
    with batch_span("enrich", "mentions.raw", many):
        pass
    stop_tracing()
    few, bounded = exporter.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in few.links] == [TRACE, "1" * 32]
    assert (few.attributes or {})["messaging.batch.message_count"] == 6
    assert len(bounded.links) == MAX_LINKS


async def test_while_it_is_off_there_is_no_header() -> None:
    start_tracing("test", Settings())
    assert await get("/m", **{HEADER: SAMPLED}) == []
    assert carried() == []
    assert passed_on([(HEADER, SAMPLED.encode())]) == []
    with batch_span("store", "mentions.enriched", [None]):
        pass
    stop_tracing()


def test_only_the_trace_is_passed_on(spans: InMemorySpanExporter) -> None:
    assert passed_on([("a", b"1"), (HEADER, b"t")]) == [(HEADER, b"t")]
    assert spans.get_finished_spans() == ()
