"""Logs and probes, the same in every service. The metrics themselves stand in metrics_catalogue.py.

Logs are structured (structlog), go to standard error and name their service; mentions' texts and secrets are
never logged.
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TextIO

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.typing import EventDict, Processor

from shared.errors import ConfigError
from shared.metrics_catalogue import Exporter, registry_of
from shared.settings import Settings

Readiness = Callable[[], Awaitable[Mapping[str, str]]]
"""Answers what keeps a service from being ready: {check: reason}, empty when it is ready."""

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def configure_logging(service: str, settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to standard error (or `stream`) in one shape."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _named(service),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Their INFO is one line a request, a batch or a rebalance step: debug matter.
    for chatty in ("aiokafka", "faust", "mode", "httpx", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    # It logs each failed request with a stack trace; the caller says the same in a line, and what follows.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _named(service: str) -> Processor:
    def add_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add_service


def probe_routes(exporter: Exporter, ready: Readiness) -> list[Route]:
    """Return /healthz (the process answers), /readyz (it can do its work) and /metrics of a service."""
    registry = registry_of(exporter)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        waiting_for = await ready()
        if not waiting_for:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "waiting_for": dict(waiting_for)}, status_code=503)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


@asynccontextmanager
async def serve_probes(exporter: Exporter, host: str, port: int, ready: Readiness) -> AsyncIterator[None]:
    """Serve the probes on `host`:`port` while the body runs, for a service that has no HTTP of its own."""
    app = Starlette(routes=probe_routes(exporter, ready))
    with listen(host, port) as listener:
        server = QuietServer(uvicorn.Config(app, log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await task


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host`:`port`.

    Raises ConfigError when it cannot, where uvicorn by itself would end the process without a reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Stop what uses it, or set another port."
        ) from None


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to the service around it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Capture nothing."""
        yield
