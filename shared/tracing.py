"""OpenTelemetry tracing, off unless KLANKBORD_TRACING_ENDPOINT says where traces go.

A request is a span; what ingest puts on Kafka carries its context in the header `traceparent` (W3C Trace
Context), and enrich passes the header on. Enrich and the sink work in batches, so each batch is a span of
its own that links to the requests of its messages: the sampled ones, MAX_LINKS at most. No text, author or
address of a mention is in a span. While tracing is off no span is made and no header is looked at or written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

HEADER = "traceparent"
MAX_LINKS = 64
EXPORT_SECONDS = 5
Headers = Sequence[tuple[str, bytes]]
_FIRST_ERROR = 500
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Tracing:
    provider: "TracerProvider | None" = None


_tracing = _Tracing()
"""One per process, as OpenTelemetry's own; but that one cannot be stopped and started again."""


def start_tracing(service: str, settings: Settings, exporter: "SpanExporter | None" = None) -> None:
    """Begin to trace, where the settings say where to; `exporter` takes the place of the one over HTTP.

    Spans are sent in the background; a collector that is away costs spans and nothing else.
    """
    if exporter is None and settings.tracing_endpoint is None:
        return
    # Only who traces waits for these.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    endpoint = f"{(settings.tracing_endpoint or '').rstrip('/')}/v1/traces"
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"klankbord-{service}", "service.namespace": "klankbord"}),
        sampler=ParentBased(TraceIdRatioBased(settings.tracing_ratio)),
        # Ended by stop_tracing; a hook at exit could wait for a collector that is away.
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS))
    )
    _tracing.provider = provider


def stop_tracing() -> None:
    """Send what is left, for EXPORT_SECONDS at most, and trace no more."""
    provider, _tracing.provider = _tracing.provider, None
    if provider is not None:
        provider.force_flush(EXPORT_SECONDS * 1_000)
        provider.shutdown()


@contextmanager
def request_span(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[Span | None]:
    """Make a span of an HTTP request, which goes on with the trace that its headers name."""
    if _tracing.provider is None:
        yield None
        return
    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    context = _PROPAGATOR.extract(carrier)
    tracer = _tracing.provider.get_tracer(__name__)
    with tracer.start_as_current_span(method, context, SpanKind.SERVER) as span:
        yield span


def name_request(span: Span | None, method: str, route: str, status: int) -> None:
    """Say what a request was, once that is known."""
    if span is None:
        return
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    )
    if status >= _FIRST_ERROR:
        span.set_status(Status(StatusCode.ERROR))


@contextmanager
def batch_span(operation: str, topic: str, messages: Sequence[Any]) -> Iterator[None]:
    """Make a span of work on `messages` (ConsumerRecords of `topic`), linked to where they came from."""
    if _tracing.provider is None:
        yield
        return
    attributes: Mapping[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.batch.message_count": len(messages),
    }
    tracer = _tracing.provider.get_tracer(__name__)
    with tracer.start_as_current_span(
        f"{operation} {topic}", kind=SpanKind.CONSUMER, links=_links(messages), attributes=attributes
    ):
        yield


def carried() -> list[tuple[str, bytes]]:
    """Return the headers for a message that the current span brings about; none while tracing is off."""
    if _tracing.provider is None:
        return []
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return [(HEADER, carrier[HEADER].encode())] if HEADER in carrier else []


def passed_on(headers: Headers) -> list[tuple[str, bytes]]:
    """Return those of a message's headers that go along with what is made of it."""
    return [] if _tracing.provider is None else [pair for pair in headers if pair[0] == HEADER]


def _links(messages: Sequence[Any]) -> list[Link]:
    seen: dict[bytes, Link] = {}
    for message in messages:
        for name, value in message.headers:
            if name == HEADER and value not in seen and len(seen) < MAX_LINKS:
                context = _PROPAGATOR.extract({HEADER: value.decode("latin-1")})
                found = get_current_span(context).get_span_context()
                if found.is_valid and found.trace_flags.sampled:
                    seen[value] = Link(found)
    return list(seen.values())
