"""Counts, times and traces the HTTP requests of a service, by route and status."""

import time
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.metrics_catalogue import OTHER
from shared.tracing import name_request, request_span


@dataclass(frozen=True)
class HttpMetrics:
    """Where a service counts: requests by route and status, seconds by route, and how many are under way."""

    requests: Counter
    seconds: Histogram
    in_progress: Gauge


class RequestMetrics:
    """ASGI middleware: counts and times each request."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with (
            self._metrics.in_progress.track_inprogress(),
            request_span(scope["method"], scope["headers"]) as span,
        ):
            try:
                await self._app(scope, receive, noting)
            finally:
                route = route_label(scope)
                name_request(span, scope["method"], route, status)
                self._metrics.requests.labels(route, str(status)).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - started)


def route_label(scope: Scope) -> str:
    """Return the template of the route that answered: a closed set, whatever was asked for."""
    return getattr(scope.get("route"), "path", OTHER)
