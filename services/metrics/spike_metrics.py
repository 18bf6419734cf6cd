"""The metrics of spikes and sources, set anew after each look."""

from collections import Counter
from collections.abc import Iterable

from services.metrics.episodes import Episodes
from services.metrics.source_health import SourceState
from shared.metrics_catalogue import (
    MAX_OTHER_SOURCES,
    MAX_SPIKES_SHOWN,
    OTHER,
    SOURCE_LAST_MENTION,
    SOURCE_SILENT,
    SPIKE_EXPECTED,
    SPIKE_OBSERVED,
    SPIKE_RATIO,
    SPIKES_ACTIVE,
    SPIKES_RAISED,
    Bounded,
)
from shared.spike_events import Severity, Spike, SpikeKind

_OF_ONE_SPIKE = (SPIKE_RATIO, SPIKE_OBSERVED, SPIKE_EXPECTED)


class SpikeMetrics:
    """Shows what is on. `brands`: those of klankbord.toml, which are shown with 0 when all is quiet."""

    def __init__(self, brands: Iterable[str]) -> None:
        self._brands = tuple(brands)
        self._brand = Bounded(self._brands)
        self._source = Bounded((), room=MAX_OTHER_SOURCES)

    def clear(self) -> None:
        """Show nothing: another worker does."""
        for gauge in (*_OF_ONE_SPIKE, SPIKES_ACTIVE, SOURCE_SILENT, SOURCE_LAST_MENTION):
            gauge.clear()

    def show(self, episodes: Episodes, changed: Iterable[Spike], states: Iterable[SourceState]) -> None:
        """Show what is on, what was raised in this look (`changed`), and how the sources are doing."""
        for spike in changed:
            if spike.ended_at is None and spike.window_to == spike.raised_at:
                SPIKES_RAISED.labels(self._brand_of(spike), spike.kind.value, spike.severity.value).inc()
        self._show_active(episodes.active())
        for state in states:
            name = self._source(state.source)
            SOURCE_SILENT.labels(name).set(float(state.silent))
            SOURCE_LAST_MENTION.labels(name).set(state.last)

    def _show_active(self, active: list[Spike]) -> None:
        on = Counter((self._brand_of(spike), spike.kind, spike.severity) for spike in active)
        for brand in (*self._brands, OTHER):
            for kind in SpikeKind:
                for severity in Severity:
                    SPIKES_ACTIVE.labels(brand, kind.value, severity.value).set(on[brand, kind, severity])
        for gauge in _OF_ONE_SPIKE:
            gauge.clear()
        for spike in active[-MAX_SPIKES_SHOWN:]:
            examples = ",".join(str(example.id) for example in spike.examples)
            about = (self._brand_of(spike), spike.kind.value, spike.severity.value, spike.stage or "all")
            SPIKE_RATIO.labels(str(spike.id), *about, ",".join(spike.topics), examples).set(spike.ratio)
            SPIKE_OBSERVED.labels(str(spike.id)).set(spike.observed)
            SPIKE_EXPECTED.labels(str(spike.id)).set(spike.expected)

    def _brand_of(self, spike: Spike) -> str:
        return self._brand(spike.brand) if spike.brand else OTHER
