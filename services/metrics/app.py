"""The metrics service: settings, sink and probes put together."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop
from clickhouse_connect.driver.client import Client

from services.metrics.migrate import pending
from services.metrics.sink import GROUP_ID, Sink
from services.metrics.watch import Watch
from shared.brands import load_brands
from shared.clickhouse import connect
from shared.clock import SystemClock
from shared.errors import DependencyUnavailable
from shared.lag import LagReporter
from shared.liveness import StallDetector, Standing, exit_when_stalled
from shared.memory import tune_memory
from shared.metrics_catalogue import Exporter
from shared.settings import Settings
from shared.telemetry import serve_probes
from shared.topics import Topic

log = structlog.get_logger()
CHECK_SECONDS = 1.0


class StoreCheck:
    """Whether ClickHouse answers and has the tables. It does not make them: `klankbord migrate` does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None

    def waiting_for(self) -> dict[str, str]:
        """Return {check: reason}, empty when the store can be used. Blocking."""
        try:
            if self._client is None:
                # A database that is not there yet would refuse the connection itself.
                self._client = connect(self._settings, database="", timeout=5)
                self._client.database = self._settings.clickhouse_database
            missing = pending(self._client)
        except DependencyUnavailable as error:
            return {"clickhouse": error.reason}
        return {"migration": f"run klankbord migrate: {', '.join(missing)}"} if missing else {}


async def serve(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    brands = [brand.name for brand in load_brands(settings.config_file).brands]
    sink, check, stop = Sink(settings), StoreCheck(settings), asyncio.Event()

    async def ready() -> Mapping[str, str]:
        return {**sink.waiting_for, **await asyncio.to_thread(check.waiting_for)}

    def on_signal() -> None:
        stop.set()
        sink.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    async with serve_probes(Exporter.METRICS, settings.host, settings.metrics_port, ready):
        await _wait_for_store(check, stop)
        lag = LagReporter(settings, Exporter.METRICS, Topic.ENRICHED, GROUP_ID, sink.held)
        watch = Watch(settings, brands, sink.held)

        def standing() -> Standing:
            # Batches are stored between commits, which wait for a recount.
            return lag.standing(sink.stored, excused=bool(sink.waiting_for))

        stalled = exit_when_stalled(StallDetector(settings.stall_seconds, SystemClock()), standing)
        async with _beside(lag.run()), _beside(watch.run()), _beside(stalled):
            await sink.run()


@asynccontextmanager
async def _beside(job: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `job` while the body runs."""
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _wait_for_store(check: StoreCheck, stop: asyncio.Event) -> None:
    said: dict[str, str] = {}
    while not stop.is_set() and (waiting := await asyncio.to_thread(check.waiting_for)):
        if waiting.keys() != said.keys():
            log.warning("waiting_for_store", **waiting)
            said = waiting
        try:
            await asyncio.wait_for(stop.wait(), CHECK_SECONDS)
        except TimeoutError:
            continue


def run(settings: Settings) -> int:
    """Run the service; return its exit code."""
    tune_memory()
    uvloop.run(serve(settings))
    return 0
