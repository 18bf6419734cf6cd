"""From counts to findings about all brands and sources: the pure part of one look of the detector."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from services.metrics.baseline import Baseline, History, learn
from services.metrics.episodes import Episodes
from services.metrics.seasons import HOUR, Numbers
from services.metrics.source_health import Rhythm, SourceState, rhythm, state
from services.metrics.spike_store import Past
from services.metrics.spikes import Complaint, Finding, Situation
from shared.spike_events import Severity, SpikeKind


@dataclass(frozen=True)
class Usual:
    """What is usual: by brand, and of each source by itself."""

    baselines: Mapping[str, Baseline]
    rhythms: Mapping[str, Rhythm]


def learn_all(past: Past, zone: ZoneInfo) -> Usual:
    """Return what is usual; brands and sources with too little history are left out."""
    totals: dict[str, Numbers] = {}
    for by_source in past.mentions.values():
        for source, counts in by_source.items():
            totals[source] = totals[source] + counts if source in totals else counts
    rhythms = {source: rhythm(counts, past.first_hour, zone) for source, counts in totals.items()}
    known = {source: one for source, one in rhythms.items() if one is not None}
    baselines = {}
    for brand, mentions in past.mentions.items():
        outages = {source: known[source].outages for source in mentions if source in known}
        history = History(brand, past.first_hour, mentions, past.complainants.get(brand, {}), outages)
        if (baseline := learn(history, zone)) is not None:
            baselines[brand] = baseline
    return Usual(baselines, known)


def source_states(
    usual: Usual, newest: Mapping[str, float], now: float, zone: ZoneInfo
) -> dict[str, SourceState]:
    """Return how each source is doing whose newest mention is known."""
    return {
        source: state(source, known, newest[source], now, zone)
        for source, known in usual.rhythms.items()
        if source in newest
    }


def situations(
    usual: Usual,
    complaints: Sequence[Complaint],
    states: Mapping[str, SourceState],
    episodes: Episodes,
    now: float,
) -> list[Situation]:
    """Return the situation of each brand of which the usual is known."""
    silent = frozenset(name for name, one in states.items() if one.silent)
    suspect = frozenset(name for name, one in states.items() if one.suspect)
    by_brand: dict[str, list[Complaint]] = {brand: [] for brand in usual.baselines}
    for one in complaints:
        if one.brand in by_brand:
            by_brand[one.brand].append(one)
    return [
        Situation(baseline, now, by_brand[brand], episodes.since(brand), silent, suspect)
        for brand, baseline in sorted(usual.baselines.items())
    ]


def silences(states: Mapping[str, SourceState], now: float) -> list[Finding]:
    """Return a finding for each source that is silent."""
    return [
        Finding(
            kind=SpikeKind.SOURCE_SILENT,
            severity=Severity.WARNING,
            brand=None,
            source=one.source,
            stage=None,
            topics=(),
            observed=0,
            expected=one.missing,
            expected_high=one.missing,
            authors=0,
            p=math.exp(-one.missing),
            q=float(np.clip(math.exp(-one.missing) * len(states), 0, 1)),
            window=max(int((now - one.last) // HOUR), 1),
            start=one.last,
        )
        for _, one in sorted(states.items())
        if one.silent
    ]
