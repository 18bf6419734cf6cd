"""The HTTP API and the page: wires settings, store and routes together, and serves them.

It starts, and answers its probes, while ClickHouse is away; requests then get a 503 problem.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.context import Context
from services.api.queries import Store
from services.api.routes import accuracy, brands, dead_letters, mentions, spikes, timeseries, topics
from services.api.routes.page import mount_page
from shared.brands import load_brands
from shared.clock import Clock, SystemClock
from shared.http_metrics import HttpMetrics, RequestMetrics
from shared.metrics_catalogue import API_IN_PROGRESS, API_REQUEST_SECONDS, API_REQUESTS, Exporter
from shared.problems import install_problem_handlers
from shared.settings import Settings
from shared.telemetry import QuietServer, probe_routes

SHUTDOWN_SECONDS = 5
DESCRIPTION = """What candidates say about an employer: #fails and questions, as honest time series.

Errors are problem+json (RFC 9457): `errors` names each wrong parameter and says why.
Counts carry their denominator (`n`), and each mention counts once, whatever was sent twice.
"""
UNAVAILABLE = {
    "description": "ClickHouse does not answer; Retry-After says when to come back.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
log = structlog.get_logger()


def create_app(settings: Settings, store: Store, clock: Clock) -> FastAPI:
    """Return the application; it closes `store` when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(store.close)

    app: FastAPI = FastAPIOffline(
        title="Klankbord", version="1", description=DESCRIPTION, lifespan=lifespan, redirect_slashes=False
    )
    app.state.context = Context(settings, store, clock)
    install_problem_handlers(app)
    for module in (timeseries, mentions, topics, spikes, accuracy, brands, dead_letters):
        app.include_router(module.router, responses={503: UNAVAILABLE})
    app.router.routes.extend(probe_routes(Exporter.API, store.ready))
    mount_page(app, store, settings, clock)
    app.add_middleware(Headers)
    app.add_middleware(
        RequestMetrics, metrics=HttpMetrics(API_REQUESTS, API_REQUEST_SECONDS, API_IN_PROGRESS)
    )
    return app


class Headers:
    """ASGI middleware: sets the headers that every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and complete the headers of its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-content-type-options"] = "nosniff"
                headers.setdefault("referrer-policy", "same-origin")
                headers.setdefault("x-frame-options", "DENY")
                if scope["path"].startswith("/v1/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises ConfigError on a wrong brands file."""
    store = Store(settings, load_brands(settings.config_file))
    return uvloop.run(_serve(create_app(settings, store, SystemClock()), settings))


async def _serve(app: FastAPI, settings: Settings) -> int:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.api_port,
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = QuietServer(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
    log.info("starting", host=settings.host, port=settings.api_port)
    await server.serve()
    log.info("stopped")
    return 0
