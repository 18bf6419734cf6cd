"""Every metric that a service exports, in one typed list; docs/metrics.md is this list, rendered.

Names follow Prometheus' conventions: `klankbord_`, what is measured, its base unit, `_total` for counters.
Label values are bounded: closed sets, brands of klankbord.toml, and for the rest a number of names at most
(`Bounded`). No label holds an author, a text or an address. A service exports its own metrics only
(`registry_of`), next to those of the process that prometheus_client knows.

Hot paths count per batch, never per message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

from shared.correction_events import CorrectedLabel
from shared.dead_letters import DeadReason
from shared.events import Language, RejectionCode, Stage
from shared.spike_events import Severity, SpikeKind

# A `_created` series beside every counter tells nothing that Prometheus does not know.
disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER = "other"
"""The label value of what is not named by itself."""
MAX_OTHER_SOURCES = 50
MAX_SPIKES_SHOWN = 50


class Exporter(StrEnum):
    """The services, as exporters of metrics."""

    INGEST = "ingest"
    ENRICH = "enrich"
    METRICS = "metrics"
    API = "api"


@dataclass(frozen=True)
class Label:
    """One label, and what its values are; that set is bounded."""

    name: str
    values: str


@dataclass(frozen=True)
class Metric:
    """One entry of the catalogue."""

    name: str
    kind: str
    help: str
    labels: tuple[Label, ...]
    exporters: tuple[Exporter, ...]
    collector: MetricWrapperBase


CATALOGUE: list[Metric] = []


def _one_of(values: type[StrEnum]) -> str:
    return ", ".join(f"`{value.value}`" for value in values)


_VIA = Label("via", "`http` or `feed`")
_REJECTION = Label("reason", _one_of(RejectionCode))
_CORRECTED = Label("label", _one_of(CorrectedLabel))
_SOURCE = Label(
    "source", f"sources of klankbord.toml, and the first {MAX_OTHER_SOURCES} others; then `{OTHER}`"
)
_OUTCOME = Label("outcome", "how a poll can end (`services/ingest/connectors/rss.py: PollOutcome`)")
_SOURCE_ERROR = Label("reason", "an outcome that is a failure, or why an entry was refused")
_ROUTE = Label("route", f"the route's template, such as `/v1/mentions/{{id}}`; else `{OTHER}`")
_STATUS = Label("status", "HTTP status code")
_SERVICE = Label("service", "`enrich` or `metrics`")
_DEAD = Label("reason", _one_of(DeadReason))
_TOPIC = Label("topic", "the Kafka topic that is read")
_PARTITION = Label("partition", "its partitions")
_STEP = Label("step", "the steps of `services/enrich/steps.py`")
_BRAND = Label("brand", f"brands of klankbord.toml; else `{OTHER}`")
_LANGUAGE = Label("language", _one_of(Language))
_DISK = Label("disk", "ClickHouse's disks")
_KIND = Label("kind", _one_of(SpikeKind))
_SEVERITY = Label("severity", _one_of(Severity))
_SPIKE = Label("spike", f"the spike's id, while it is active; at most {MAX_SPIKES_SHOWN} at a time")
_STAGE = Label("stage", f"{_one_of(Stage)}, or `all`")
_TOPICS = Label("topics", "up to three topics that stand out, comma-separated")
_EXAMPLES = Label("examples", "ids of up to three mentions, fixed when the spike is raised, comma-separated")

LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
END_TO_END_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
BATCH_SIZES = (1, 10, 50, 100, 250, 500, 1_000, 5_000, 10_000, 25_000, 50_000)


def _counter(name: str, help_: str, *labels: Label, of: tuple[Exporter, ...]) -> Counter:
    collector = Counter(name, help_, [label.name for label in labels], registry=None)
    CATALOGUE.append(Metric(name, "counter", help_, labels, of, collector))
    return collector


def _gauge(name: str, help_: str, *labels: Label, of: tuple[Exporter, ...]) -> Gauge:
    collector = Gauge(name, help_, [label.name for label in labels], registry=None)
    CATALOGUE.append(Metric(name, "gauge", help_, labels, of, collector))
    return collector


def _histogram(
    name: str, help_: str, *labels: Label, buckets: tuple[float, ...], of: tuple[Exporter, ...]
) -> Histogram:
    collector = Histogram(name, help_, [label.name for label in labels], buckets=buckets, registry=None)
    CATALOGUE.append(Metric(name, "histogram", help_, labels, of, collector))
    return collector


_ALL = tuple(Exporter)
_CONSUMERS = (Exporter.ENRICH, Exporter.METRICS)
_INGEST, _ENRICH, _METRICS, _API = ((exporter,) for exporter in Exporter)

# --- every service

BUILD_INFO = _gauge(
    "klankbord_build_info",
    "Always 1; says which version runs.",
    Label("service", _one_of(Exporter)),
    Label("version", "Klankbord's version"),
    of=_ALL,
)

# --- ingest

ACCEPTED = _counter("klankbord_ingest_accepted_total", "Mentions acknowledged by Kafka.", _VIA, of=_INGEST)
REJECTED = _counter("klankbord_ingest_rejected_total", "Mentions refused.", _VIA, _REJECTION, of=_INGEST)
CORRECTIONS_TAKEN = _counter(
    "klankbord_ingest_corrections_total", "Corrections acknowledged by Kafka.", _CORRECTED, of=_INGEST
)
INFLIGHT_BYTES = _gauge(
    "klankbord_ingest_inflight_bytes", "Bytes taken and not yet acknowledged by Kafka.", of=_INGEST
)
INFLIGHT_LIMIT_BYTES = _gauge(
    "klankbord_ingest_inflight_limit_bytes", "How many of those there may be; above it: 503.", of=_INGEST
)
PRODUCE_SECONDS = _histogram(
    "klankbord_ingest_produce_seconds",
    "From sending a batch to Kafka's acknowledgement of all of it.",
    buckets=LATENCY_SECONDS,
    of=_INGEST,
)
INGEST_REQUESTS = _counter(
    "klankbord_ingest_requests_total", "HTTP requests answered by ingest.", _ROUTE, _STATUS, of=_INGEST
)
INGEST_REQUEST_SECONDS = _histogram(
    "klankbord_ingest_request_seconds",
    "Time to answer, Kafka's acknowledgement included.",
    _ROUTE,
    buckets=LATENCY_SECONDS,
    of=_INGEST,
)
INGEST_IN_PROGRESS = _gauge(
    "klankbord_ingest_requests_in_progress", "HTTP requests being answered by ingest.", of=_INGEST
)
FEED_POLLS = _counter("klankbord_ingest_feed_polls_total", "Polls of feeds.", _SOURCE, _OUTCOME, of=_INGEST)
SOURCE_ITEMS = _counter(
    "klankbord_ingest_source_items_total", "Mentions accepted, by source.", _SOURCE, of=_INGEST
)
SOURCE_ERRORS = _counter(
    "klankbord_ingest_source_errors_total",
    "Polls that failed and entries that were refused, of sources that ingest polls.",
    _SOURCE,
    _SOURCE_ERROR,
    of=_INGEST,
)
SOURCE_LAST_SUCCESS = _gauge(
    "klankbord_ingest_source_last_success_timestamp_seconds",
    "When the source was last polled without error, or last had a mention accepted; Unix time.",
    _SOURCE,
    of=_INGEST,
)

# --- enrich, and what it shares with metrics

ENRICH_CONSUMED = _counter("klankbord_enrich_consumed_total", "Messages taken from mentions.raw.", of=_ENRICH)
ENRICH_PRODUCED = _counter(
    "klankbord_enrich_produced_total", "Enriched mentions acknowledged by Kafka.", of=_ENRICH
)
ENRICH_UNMATCHED = _counter(
    "klankbord_enrich_unmatched_total", "Mentions that match no brand; dropped.", of=_ENRICH
)
ENRICH_STEP_SECONDS = _counter(
    "klankbord_enrich_step_seconds_total", "Time spent in each step of the labelling.", _STEP, of=_ENRICH
)
ENRICH_BATCH_SECONDS = _histogram(
    "klankbord_enrich_batch_seconds", "Time to label one batch.", buckets=LATENCY_SECONDS, of=_ENRICH
)
ENRICH_BATCH_MESSAGES = _histogram(
    "klankbord_enrich_batch_messages", "Messages in one batch.", buckets=BATCH_SIZES, of=_ENRICH
)
BRAND_MENTIONS = _counter(
    "klankbord_enrich_mentions_total",
    "Mentions labelled; edits and replays too.",
    _BRAND,
    _LANGUAGE,
    of=_ENRICH,
)
BRAND_FAILS = _counter("klankbord_enrich_fails_total", "Of those: #fails.", _BRAND, _LANGUAGE, of=_ENRICH)
BRAND_QUESTIONS = _counter(
    "klankbord_enrich_questions_total", "Of those: questions.", _BRAND, _LANGUAGE, of=_ENRICH
)
DEAD_LETTERS = _counter(
    "klankbord_dead_letters_total", "Messages put aside in mentions.dead.", _SERVICE, _DEAD, of=_CONSUMERS
)
LAG = _gauge(
    "klankbord_consumer_lag_messages",
    "Messages that wait in a partition that this worker holds.",
    _SERVICE,
    _TOPIC,
    _PARTITION,
    of=_CONSUMERS,
)

# --- metrics: the sink

SINK_ROWS = _counter("klankbord_metrics_rows_total", "Mentions inserted into ClickHouse.", of=_METRICS)
SINK_CORRECTIONS = _counter(
    "klankbord_metrics_corrections_total", "Corrections stored, those stored again too.", of=_METRICS
)
SINK_INSERT_SECONDS = _histogram(
    "klankbord_metrics_insert_seconds",
    "Time of one insert of mentions; its count is the number of inserts.",
    buckets=LATENCY_SECONDS,
    of=_METRICS,
)
SINK_BATCH_ROWS = _histogram(
    "klankbord_metrics_batch_rows", "Mentions in one insert.", buckets=BATCH_SIZES, of=_METRICS
)
SINK_RETRIES = _counter(
    "klankbord_metrics_retries_total", "Work on ClickHouse tried again after an outage.", of=_METRICS
)
END_TO_END = _histogram(
    "klankbord_metrics_end_to_end_seconds",
    "From ingest publishing a mention to Kafka until it can be queried, the rollup included; the slowest "
    "mention of each batch.",
    buckets=END_TO_END_SECONDS,
    of=_METRICS,
)
SINK_LAST_COMMIT = _gauge(
    "klankbord_metrics_last_commit_timestamp_seconds",
    "When offsets were last committed; Unix time.",
    of=_METRICS,
)
DISK_FREE_BYTES = _gauge(
    "klankbord_metrics_disk_free_bytes", "Free space on ClickHouse's disks.", _DISK, of=_METRICS
)
DISK_TOTAL_BYTES = _gauge(
    "klankbord_metrics_disk_total_bytes", "Size of ClickHouse's disks.", _DISK, of=_METRICS
)

# --- metrics: spikes and sources. Exported by the one worker that evaluates.

SPIKES_RAISED = _counter(
    "klankbord_spikes_raised_total", "Spikes raised.", _BRAND, _KIND, _SEVERITY, of=_METRICS
)
SPIKES_ACTIVE = _gauge(
    "klankbord_spikes_active",
    "Spikes that are on; 0 for a quiet brand.",
    _BRAND,
    _KIND,
    _SEVERITY,
    of=_METRICS,
)
_OF_SPIKE = (_SPIKE, _BRAND, _KIND, _SEVERITY, _STAGE, _TOPICS, _EXAMPLES)
SPIKE_RATIO = _gauge(
    "klankbord_spike_ratio",
    "An active spike: how many times the expected number was seen. Gone when the spike is over.",
    *_OF_SPIKE,
    of=_METRICS,
)
SPIKE_OBSERVED = _gauge(
    "klankbord_spike_observed_mentions", "An active spike: #fails in its window.", _SPIKE, of=_METRICS
)
SPIKE_EXPECTED = _gauge(
    "klankbord_spike_expected_mentions", "An active spike: #fails expected there.", _SPIKE, of=_METRICS
)
SPIKE_EVALUATION_SECONDS = _histogram(
    "klankbord_spike_evaluation_seconds",
    "Time of one evaluation of all brands.",
    buckets=LATENCY_SECONDS,
    of=_METRICS,
)
SPIKE_LAST_EVALUATION = _gauge(
    "klankbord_spike_last_evaluation_timestamp_seconds",
    "When the last evaluation succeeded; Unix time. Highest over the workers.",
    of=_METRICS,
)
SOURCE_SILENT = _gauge(
    "klankbord_source_silent",
    "1 when a source delivers nothing although it should; else 0.",
    _SOURCE,
    of=_METRICS,
)
SOURCE_LAST_MENTION = _gauge(
    "klankbord_source_last_mention_timestamp_seconds",
    "When the source's newest mention was published; Unix time.",
    _SOURCE,
    of=_METRICS,
)

# --- api

API_REQUESTS = _counter(
    "klankbord_api_requests_total", "HTTP requests answered by the API.", _ROUTE, _STATUS, of=_API
)
API_REQUEST_SECONDS = _histogram(
    "klankbord_api_request_seconds", "Time to answer.", _ROUTE, buckets=LATENCY_SECONDS, of=_API
)
API_IN_PROGRESS = _gauge(
    "klankbord_api_requests_in_progress", "HTTP requests being answered by the API.", of=_API
)


class Bounded:
    """Names to label values: the known ones and the first `room` others as they are, the rest as `other`."""

    def __init__(self, known: Iterable[str], room: int = 0) -> None:
        self._known = set(known)
        self._room = room

    def __call__(self, name: str) -> str:
        """Return the label value for `name`."""
        if name in self._known:
            return name
        if self._room <= 0:
            return OTHER
        self._room -= 1
        self._known.add(name)
        return name


def show_lag(exporter: Exporter, topic: str, lags: Mapping[int, int]) -> None:
    """Export the lag of the partitions that the worker holds now, and of no others."""
    LAG.clear()
    for partition, lag in lags.items():
        LAG.labels(exporter, topic, str(partition)).set(lag)


def registry_of(exporter: Exporter) -> CollectorRegistry:
    """Return a registry of the metrics that a service exports, and those of its process."""
    registry = CollectorRegistry()
    for process in (ProcessCollector, PlatformCollector, GCCollector):
        process(registry=registry)
    for metric in CATALOGUE:
        if exporter in metric.exporters:
            registry.register(metric.collector)
    BUILD_INFO.clear()
    BUILD_INFO.labels(exporter.value, version("klankbord")).set(1)
    return registry


def describe_metrics() -> str:
    """Return the catalogue as a Markdown document; docs/metrics.md is this text."""
    lines = [
        "# Metrics",
        "",
        "Each service serves these at `/metrics` on its own port, next to `/healthz` and `/readyz`, and",
        "with them what prometheus_client tells of the process (`process_*`, `python_*`). Durations are in",
        "seconds, sizes in bytes, moments in Unix time. Label values are bounded. This page is what",
        "`klankbord metrics-catalogue` prints.",
    ]
    for exporter in Exporter:
        own = [metric for metric in CATALOGUE if exporter in metric.exporters]
        lines += [
            "",
            f"## {exporter.value}",
            "",
            "| metric | kind | labels | what it tells |",
            "|---|---|---|---|",
        ]
        lines += [_row(metric) for metric in own]
    labels = {(label.name, label.values): None for metric in CATALOGUE for label in metric.labels}
    lines += ["", "## Labels", "", "| label | values |", "|---|---|"]
    lines += [f"| `{name}` | {values} |" for name, values in sorted(labels)]
    return "\n".join([*lines, ""])


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label.name}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
