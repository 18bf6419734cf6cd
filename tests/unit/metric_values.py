"""Reading a metric's value, to compare it before and after."""

from prometheus_client import Counter, Gauge


def value_of(metric: Counter | Gauge, *labels: str) -> float:
    """Return the value of `metric` now."""
    return float((metric.labels(*labels) if labels else metric)._value.get())
