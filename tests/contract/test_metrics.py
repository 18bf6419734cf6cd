"""The metrics keep to Prometheus' conventions, and each service exports its own and no others."""

import re

import pytest
from prometheus_client import generate_latest

from shared.metrics_catalogue import CATALOGUE, OTHER, Bounded, Exporter, Metric, registry_of, show_lag

UNITS = ("seconds", "bytes", "messages", "rows", "mentions", "ratio")
NO_UNIT = {"klankbord_build_info", "klankbord_spikes_active", "klankbord_source_silent"}
FORBIDDEN_LABELS = {"author", "handle", "url", "text", "query", "path", "id", "conversation"}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"klankbord(_[a-z]+)+", metric.name)
    assert metric.help.endswith(".")
    assert metric.exporters
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)
    if metric.kind == "gauge" and not metric.name.endswith("_in_progress"):
        assert metric.name.endswith(UNITS) or metric.name in NO_UNIT


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_labels_are_bounded_and_say_so(metric: Metric) -> None:
    for label in metric.labels:
        assert label.name not in FORBIDDEN_LABELS
        assert label.values
    assert len({label.name for label in metric.labels}) == len(metric.labels)


def test_no_name_stands_twice() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("exporter", Exporter)
def test_a_service_exports_its_own_metrics_those_of_its_process_and_no_others(exporter: Exporter) -> None:
    exported = set(re.findall(r"^# TYPE (\w+) ", generate_latest(registry_of(exporter)).decode(), re.M))
    own = {metric.name for metric in CATALOGUE if exporter in metric.exporters}
    assert {name for name in exported if name.startswith("klankbord_")} == own
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"} <= exported
    assert not any(name.endswith("_created") for name in exported)


def test_build_info_names_service_and_version() -> None:
    text = generate_latest(registry_of(Exporter.API)).decode()
    assert re.search(r'^klankbord_build_info\{service="api",version="\d+\.\d+\.\d+"\} 1.0$', text, re.M)


def test_names_beyond_the_bound_share_a_label_value() -> None:
    label = Bounded(["Acme"], room=2)
    assert [label(name) for name in ("x", "Acme", "y", "z", "x")] == ["x", "Acme", "y", OTHER, "x"]
    assert Bounded(["Acme"])("Nobody") == OTHER


def test_lag_is_shown_for_the_partitions_that_are_held_now() -> None:
    show_lag(Exporter.METRICS, "mentions.enriched", {0: 5, 1: 7})
    show_lag(Exporter.METRICS, "mentions.enriched", {1: 3})
    text = generate_latest(registry_of(Exporter.METRICS)).decode()
    lines = [line for line in text.splitlines() if line.startswith("klankbord_consumer_lag_messages{")]
    wanted = '{partition="1",service="metrics",topic="mentions.enriched"} 3.0'
    assert lines == [f"klankbord_consumer_lag_messages{wanted}"]
