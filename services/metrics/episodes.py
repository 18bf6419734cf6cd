"""From findings to spikes that begin, grow and end, so that one burst is one alert. Pure: time is handed in.

A finding about a brand of which a spike is on belongs to that spike: it may make it more severe, or wider
when it is about another stage, but raises no second one. A spike is over when its count is no longer unusual,
and stays over for COOLDOWN_SECONDS; what was counted in it is not counted again (`since`), so that only more
of the same arms it anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from services.metrics.baseline import ALL, Scope, Series
from services.metrics.spikes import Finding, Judgement
from shared.events import NAMESPACE
from shared.spike_events import Example, Severity, Spike, SpikeKind, SpikeState

COOLDOWN_SECONDS = 3_600.0
CALM_P = 0.01
"""A count this likely is usual again."""
_SEVERITIES = tuple(Severity)


@dataclass(frozen=True)
class Episodes:
    """What is on, and what is over and still remembered, by id."""

    spikes: Mapping[UUID, Spike]

    def active(self) -> list[Spike]:
        """Return what is on, the oldest first."""
        on = [spike for spike in self.spikes.values() if spike.state is SpikeState.ACTIVE]
        return sorted(on, key=lambda spike: (spike.raised_at, spike.id))

    def since(self, brand: str) -> float:
        """Return from when complaints of `brand` count (Unix seconds): from the end of its last spike."""
        ends = [s.ended_at.timestamp() for s in self.spikes.values() if s.brand == brand and s.ended_at]
        return max(ends, default=0.0)


def follow(
    episodes: Episodes, judgement: Judgement, silent: Iterable[Finding], now: datetime
) -> tuple[Episodes, list[Spike]]:
    """Return the episodes after one look at everything, and the spikes that began, grew or ended in it.

    `silent`: the sources that are silent now, as findings. What ended over a day ago is forgotten.
    """
    findings = [*judgement.findings, *silent]
    changed: dict[UUID, Spike] = {}
    continued: set[UUID] = set()
    for finding in findings:
        known = next((spike for spike in episodes.active() if _same(spike, finding)), None)
        if known is not None:
            continued.add(known.id)
            grown = _grown(known, spike_of(finding, known.raised_at, now, known.id))
            if grown is not None:
                changed[known.id] = grown
        elif not _cooling(finding, episodes, now):
            spike = spike_of(finding, now, now)
            changed[spike.id] = spike
    for spike in episodes.active():
        if spike.id not in continued and not _goes_on(spike, judgement):
            changed[spike.id] = spike.model_copy(update={"ended_at": now})
    kept = {i: s for i, s in {**episodes.spikes, **changed}.items() if not _forgotten(s, now)}
    return Episodes(kept), list(changed.values())


def spike_of(finding: Finding, raised_at: datetime, now: datetime, known_id: UUID | None = None) -> Spike:
    """Return the event for a finding. Its id follows from what it is about and the hour it was raised in."""
    about = [finding.kind.value, finding.brand or "", finding.source or ""]
    name = "\x1f".join(["spike", *about, raised_at.astimezone(UTC).strftime("%Y-%m-%dT%H")])
    return Spike(
        id=known_id or uuid5(NAMESPACE, name),
        kind=finding.kind,
        severity=finding.severity,
        brand=finding.brand,
        source=finding.source,
        stage=finding.stage,
        topics=finding.topics,
        observed=finding.observed,
        expected=finding.expected,
        expected_high=finding.expected_high,
        distinct_authors=finding.authors,
        p_value=finding.p,
        q_value=finding.q,
        window_from=datetime.fromtimestamp(finding.start, UTC),
        window_to=now,
        raised_at=raised_at,
        examples=tuple(
            Example(id=one.id, url=one.url or None, excerpt=one.excerpt) for one in finding.examples
        ),
    )


def _same(spike: Spike, finding: Finding) -> bool:
    """Whether both are about the same."""
    return (spike.kind, spike.brand, spike.source) == (finding.kind, finding.brand, finding.source)


def _grown(known: Spike, now: Spike) -> Spike | None:
    """Return what an active spike has become, None when it is neither more severe nor wider."""
    severer = _SEVERITIES.index(now.severity) > _SEVERITIES.index(known.severity)
    wider = known.stage is not None and now.stage != known.stage
    if not severer and not wider:
        return None
    worst = now.severity if severer else known.severity
    stage = now.stage if now.stage == known.stage else None
    return now.model_copy(update={"severity": worst, "stage": stage})


def _cooling(finding: Finding, episodes: Episodes, now: datetime) -> bool:
    """Whether one about the same was over a moment ago."""
    ends = [spike.ended_at for spike in episodes.spikes.values() if spike.ended_at and _same(spike, finding)]
    return bool(ends) and (now - max(ends)).total_seconds() < COOLDOWN_SECONDS


def _goes_on(spike: Spike, judgement: Judgement) -> bool:
    """Whether the count of an active spike, in a window as long as the one it was raised for, is unusual."""
    if spike.kind is SpikeKind.SOURCE_SILENT or spike.brand is None:
        return False
    series = Series(Scope.STAGE, spike.stage) if spike.stage else ALL
    if spike.kind is SpikeKind.DROP:
        return judgement.low_p_values.get((spike.brand, series), 1.0) < CALM_P
    by_window = judgement.p_values.get((spike.brand, series), {})
    hours = (spike.window_to - spike.window_from).total_seconds() / 3_600
    return any(p < CALM_P for window, p in by_window.items() if window <= max(hours, 1) + 0.5)


def _forgotten(spike: Spike, now: datetime) -> bool:
    return spike.ended_at is not None and (now - spike.ended_at).total_seconds() > 86_400
