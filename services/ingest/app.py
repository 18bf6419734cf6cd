"""Wires the ingest service: settings to objects to a running server."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import stamina
import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from services.ingest.budget import Budget
from services.ingest.checkpoints import CheckpointStore
from services.ingest.connectors.rss import FeedPoller
from services.ingest.http import Lifespan, create_app
from services.ingest.publish import Publisher
from shared.brands import BrandBook, load_brands
from shared.clock import Clock, SystemClock
from shared.errors import DependencyUnavailable
from shared.metrics_catalogue import MAX_OTHER_SOURCES, Bounded
from shared.settings import Settings
from shared.telemetry import QuietServer, listen

# Requests beyond those that the API itself turns away with a 503; it answers those properly.
MAX_CONNECTIONS = 1_000
GRACE_SECONDS = 4
_RETRY = stamina.AsyncRetryingCaller(attempts=None, timeout=None, wait_initial=0.5, wait_max=60.0)

log = structlog.get_logger()


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises ConfigError when klankbord.toml is wrong or the port is taken.
    """
    brand_book = load_brands(settings.config_file)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, brand_book))


async def _serve(settings: Settings, brand_book: BrandBook) -> int:
    clock = SystemClock()
    budget = Budget(settings.ingest_max_inflight_bytes)
    source_label = Bounded(brand_book.sources(), MAX_OTHER_SOURCES)
    publisher = Publisher(settings, clock, budget, source_label=source_label)
    lifespan = _lifespan(settings, brand_book, publisher, clock)
    app = create_app(settings, publisher, clock, budget, lifespan)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = QuietServer(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    with listen(settings.host, settings.ingest_port) as listener:
        host, port = listener.getsockname()[:2]
        log.info("listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await server.serve(sockets=[listener])
    return 0


def _lifespan(settings: Settings, brand_book: BrandBook, publisher: Publisher, clock: Clock) -> Lifespan:
    feeds = brand_book.all_feeds() if settings.feeds_enabled else ()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await publisher.start()
            stack.push_async_callback(publisher.stop)
            if feeds:
                polling = asyncio.create_task(_RETRY(Exception, poll))
                stack.push_async_callback(_cancel, polling)
            yield

    async def poll() -> None:
        """Read the feeds, with a checkpoint store of their own. What it raises is tried again."""
        checkpoints = CheckpointStore(settings)
        try:
            await checkpoints.start()
            await FeedPoller(feeds=feeds, publisher=publisher, checkpoints=checkpoints, clock=clock).run()
        except DependencyUnavailable as outage:
            log.warning("feeds_wait", reason=str(outage))
            raise
        except Exception:
            log.exception("feeds_crashed", hint="the other parts of ingest go on; the feeds are tried again")
            raise
        finally:
            await checkpoints.stop()

    return lifespan


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
