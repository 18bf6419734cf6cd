"""Wires the enrichment worker: settings -> labeller, Kafka, Faust app -> run."""

import asyncio
import signal
import tempfile
from collections.abc import Mapping
from functools import partial
from typing import Any

import faust
import structlog
import uvloop
from faust.types import TP

from services.enrich.agent import Outcome, count, process, write_until_done
from services.enrich.output import KafkaOutput
from services.enrich.steps import Enricher
from services.enrich.transport import BatchApp, PassThroughSchema, RecordRun
from shared.brands import load_brands
from shared.clock import SystemClock
from shared.flood import FloodGuard
from shared.kafka import connection_options, new_producer, wait_for_topics
from shared.lag import LagReporter
from shared.liveness import StallDetector, Standing, end_at_once, exit_when_stalled
from shared.memory import tune_memory
from shared.metrics_catalogue import (
    ENRICH_BATCH_MESSAGES,
    ENRICH_BATCH_SECONDS,
    ENRICH_STEP_SECONDS,
    Bounded,
    Exporter,
)
from shared.settings import Settings
from shared.telemetry import serve_probes
from shared.topics import Topic
from shared.tracing import batch_span

log = structlog.get_logger()

GROUP = "klankbord-enrich"
RUN_RECORDS = 1_000
"""Most records in one run: large enough to spread the costs, small enough to be quick to finish."""
QUEUED_RUNS = 4
STOP_SECONDS = 15.0
"""How long an orderly stop may take. What it needs with a Kafka that answers is a second or a few."""


def run(settings: Settings, group: str = GROUP) -> int:
    """Run the worker until SIGTERM or SIGINT; return the exit code (1: it crashed, start it again)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, group))


async def _serve(settings: Settings, group: str) -> int:
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    worker = Worker(settings, group)
    async with serve_probes(Exporter.ENRICH, settings.host, settings.enrich_port, worker.waiting_for):
        return await worker.run(stopping)


def _count_step(step: str, seconds: float) -> None:
    ENRICH_STEP_SECONDS.labels(step).inc(seconds)


class Worker:
    """The Faust app and what it needs."""

    def __init__(self, settings: Settings, group: str) -> None:
        self._settings = settings
        book = load_brands(settings.config_file)
        self._enricher = Enricher(book, timed=_count_step)
        tune_memory()
        self._brand_label = Bounded(brand.name for brand in book.brands)
        self._lag = LagReporter(settings, Exporter.ENRICH, Topic.RAW, group, self._held)
        self._output = KafkaOutput(partial(new_producer, settings))
        self._app = new_app(settings, group)
        self._guard = FloodGuard(
            settings.dead_letter_max_consecutive, settings.dead_letter_max_ratio, settings.dead_letter_window
        )
        self._flood = asyncio.Event()
        self._started = False
        self._app.agent(self._app.topic(Topic.RAW, schema=PassThroughSchema()), name="enrich")(self._agent)

    async def run(self, stopping: asyncio.Event) -> int:
        """Work until `stopping` is set; return the exit code soon after, also when Kafka does not answer."""
        if not await wait_for_topics(self._settings, (Topic.RAW, Topic.ENRICHED, Topic.DEAD), stopping):
            return 0
        await self._app.start()
        self._started = True
        ends = [
            asyncio.ensure_future(end)
            for end in (
                self._app.wait_until_stopped(),
                stopping.wait(),
                exit_when_stalled(StallDetector(self._settings.stall_seconds, SystemClock()), self._standing),
                self._lag.run(),
                self._flood.wait(),
            )
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        failed = not stopping.is_set()
        for end in ends:
            end.cancel()
        if failed:
            log.error("worker_failed", crash=repr(self._app.crash_reason), then="this process ends")
        stopped = asyncio.ensure_future(self._stop())
        await asyncio.wait({stopped}, timeout=STOP_SECONDS)
        if not stopped.done():
            log.warning("stopped_before_done", then="what was in hand is read again")
            end_at_once(failed)
        await stopped
        return int(failed)

    async def _stop(self) -> None:
        await self._app.stop()
        await self._output.stop()

    def _standing(self) -> Standing:
        return self._lag.standing(excused=self._app.rebalancing or self._output.failing)

    async def waiting_for(self) -> Mapping[str, str]:
        """Answer the readiness probe."""
        if not self._started:
            return {"kafka": f"not connected to {self._settings.kafka_bootstrap_servers} yet"}
        if self._app.rebalancing or not self.assignment():
            return {"partitions": "none of mentions.raw assigned to this worker yet"}
        return {}

    def assignment(self) -> set[TP]:
        """Return the partitions that this worker holds."""
        return set(self._app.batch_consumer.assignment())

    def _held(self) -> list[int]:
        return [tp.partition for tp in self.assignment()]

    async def _agent(self, stream: Any) -> None:
        """Label run after run, in a thread, while what the run before came to is being written."""
        consumer = self._app.batch_consumer
        async with asyncio.TaskGroup() as group:
            written: asyncio.Task[None] | None = None
            async for event in stream.noack().events():
                run: RecordRun = event.value
                if not consumer.start_run(run):
                    continue
                outcome = await asyncio.to_thread(self._label, run)
                reason = self._guard.reason_to_stop(outcome.verdicts(run.records))
                if reason is not None:
                    # Neither written nor finished: who looks into it finds these messages in their place.
                    log.error("dead_letter_flood", reason=reason, topic=run.ticket.partition.topic)
                    self._flood.set()
                    return
                if written is not None:
                    # One after the other, so that a conversation stays in order.
                    await written
                written = group.create_task(self._write(run, outcome))

    async def _write(self, run: RecordRun, outcome: Outcome) -> None:
        consumer = self._app.batch_consumer
        if await write_until_done(outcome, self._output, partial(consumer.is_stale, run)):
            count(outcome, self._brand_label)
            consumer.finish_run(run)

    def _label(self, run: RecordRun) -> Outcome:
        with ENRICH_BATCH_SECONDS.time(), batch_span("enrich", Topic.RAW, run.records):
            outcome = process(run.records, self._enricher)
        ENRICH_BATCH_MESSAGES.observe(len(run.records))
        return outcome


def new_app(settings: Settings, group: str) -> BatchApp:
    """Return the Faust app, not started."""
    return BatchApp(
        group,
        broker=[f"aiokafka://{server}" for server in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        broker_client_id=f"{group}-worker",
        broker_max_poll_records=RUN_RECORDS,
        broker_commit_interval=1.0,
        # How long the partitions of a worker that was killed lie idle; its heartbeats have their own thread.
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        broker_request_timeout=40.0,
        broker_rebalance_timeout=60.0,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=QUEUED_RUNS,
        stream_wait_empty=True,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
        # Faust wants a directory for tables; there are none.
        datadir=tempfile.gettempdir(),
        autodiscover=False,
        worker_redirect_stdouts=False,
    )


def _credentials(settings: Settings) -> Any:
    """Return what Faust wants to hear of the security settings that shared.kafka gives to aiokafka."""
    options = connection_options(settings)
    context = options.get("ssl_context")
    if settings.kafka_security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None
