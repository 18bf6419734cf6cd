"""Complaints far above, or far below, what is usual. Pure: counts and a baseline in, findings out.

Each series of each brand (all #fails, each stage, each topic) is compared with its baseline over several
windows that end now. The count is of different people, so that one person with fifty posts is one. The
p-values of all series together are then held to a false discovery rate (Benjamini and Hochberg, 1995), since
who looks at a hundred series every half minute finds something rare all the time.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from scipy.stats import false_discovery_control

from services.metrics.baseline import ALL, WINDOWS, Baseline, Expectation, Scope, Series
from services.metrics.seasons import HOUR, Numbers
from shared.events import Stage
from shared.spike_events import MAX_EXAMPLES, MAX_TOPICS, Severity, SpikeKind

DROP_WINDOW = 24
DROP_MIN_EXPECTED = 10.0
MIN_RATIO = 2.0
CRITICAL_P = 1e-9
CRITICAL_RATIO = 4.0
RELATED_P = 1e-3
"""A topic this unusual is named with a spike."""
DOMINANT_SHARE = 0.6
"""A stage is named when so much of the excess is in it."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One #fail. `at`: Unix seconds; `who` tells people apart, as well as the source does."""

    at: float
    brand: str
    source: str
    stage: str
    topics: tuple[str, ...]
    who: str
    id: UUID
    url: str
    excerpt: str = ""

    def series(self) -> Iterable[Series]:
        """Return the series that it counts in."""
        yield ALL
        if self.stage != Stage.OTHER:
            yield Series(Scope.STAGE, self.stage)
        for topic in dict.fromkeys(self.topics):
            yield Series(Scope.TOPIC, topic)


@dataclass(frozen=True)
class Rules:
    """What makes a finding. `max_q`: the false discovery rate of one look at everything."""

    min_authors: int = 5
    max_q: float = 3e-4


@dataclass(frozen=True)
class Situation:
    """A brand at one moment (Unix seconds).

    `complaints` are those of the last 24 hours, oldest first. `since`: windows do not reach back beyond it
    (when the last spike was over). `silent` sources deliver nothing, `suspect` ones perhaps not all.
    """

    baseline: Baseline
    now: float
    complaints: Sequence[Complaint]
    since: float = 0.0
    silent: frozenset[str] = frozenset()
    suspect: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Look:
    """One series of a brand in its most unusual window."""

    brand: str
    series: Series
    window: int
    start: float
    authors: int
    expectation: Expectation
    place: int
    """Where in the expectation this series is."""
    p: float
    p_by_window: Mapping[int, float]

    @property
    def expected(self) -> float:
        """How many people were to be expected."""
        return float(self.expectation.mean[self.place])

    @property
    def expected_high(self) -> float:
        """How many there usually are at most; costs more than all else here, so only for what is raised."""
        return self.expectation.usual_at_most(self.place)


@dataclass(frozen=True)
class Finding:
    """Something to raise, or that goes on. `window` in hours, `start` in Unix seconds."""

    kind: SpikeKind
    severity: Severity
    brand: str | None
    source: str | None
    stage: Stage | None
    topics: tuple[str, ...]
    observed: int
    expected: float
    expected_high: float
    authors: int
    p: float
    q: float
    window: int
    start: float
    examples: tuple[Complaint, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What one look at all brands found, and every series' p-values by window, for what is still going on."""

    findings: tuple[Finding, ...]
    p_values: Mapping[tuple[str, Series], Mapping[int, float]]
    low_p_values: Mapping[tuple[str, Series], float]


def judge(situations: Sequence[Situation], zone: ZoneInfo, rules: Rules) -> Judgement:
    """Look at all brands at one moment."""
    looks = [look for situation in situations for look in _looks(situation, zone)]
    q_values = dict(zip(((look.brand, look.series) for look in looks), _fdr(looks), strict=True))
    findings: list[Finding] = []
    lows: dict[tuple[str, Series], float] = {}
    by_brand: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        by_brand[look.brand].append(look)
    drops = [_drop_looks(situation, zone) for situation in situations]
    low_q = iter(_fdr([look for of_brand in drops for look in of_brand]))
    for situation, of_brand in zip(situations, drops, strict=True):
        own = by_brand[situation.baseline.brand]
        findings += _spikes(situation, own, q_values, rules)
        lows |= {(look.brand, look.series): look.p for look in of_brand}
        findings += _drops(of_brand, [next(low_q) for _ in of_brand], rules)
    return Judgement(tuple(findings), {(x.brand, x.series): x.p_by_window for x in looks}, lows)


def count_authors(complaints: Iterable[Complaint], series: Collection[Series]) -> dict[Series, int]:
    """Return how many different people complained, by series."""
    who: dict[Series, set[tuple[str, str]]] = {one: set() for one in series}
    for complaint in complaints:
        for one in complaint.series():
            if one in who:
                who[one].add((complaint.source, complaint.who))
    return {one: len(people) for one, people in who.items()}


def in_series(complaints: Iterable[Complaint], series: Series, start: float) -> list[Complaint]:
    """Return the complaints that count in `series` from `start` on."""
    return [one for one in complaints if one.at >= start and series in one.series()]


def _looks(situation: Situation, zone: ZoneInfo) -> list[Look]:
    """Return each series in its most unusual window; the p-value allows for having chosen that window."""
    known = situation.baseline
    people = _people_by_window(situation)
    extra = sorted({one for counts in people.values() for one in counts} - set(known.series))
    series = (*known.series, *extra)
    counts = np.array([[people[w].get(one, 0) for one in series] for w in WINDOWS], dtype=np.float64)
    expectations: list[Expectation] = []
    p_values: list[Numbers] = []
    for window, observed in zip(WINDOWS, counts, strict=True):
        expectation = _with_unknown(_expect(situation, window, zone, situation.silent), len(extra), known)
        expectations.append(expectation)
        p_values.append(expectation.at_least(observed))
    p = np.array(p_values)
    best = p.argmin(0)
    return [
        Look(
            brand=known.brand,
            series=one,
            window=WINDOWS[best[i]],
            start=_start(situation, WINDOWS[best[i]]),
            authors=int(counts[best[i], i]),
            expectation=expectations[best[i]],
            place=i,
            p=min(float(p[best[i], i]) * len(WINDOWS), 1.0),
            p_by_window=dict(zip(WINDOWS, p[:, i].tolist(), strict=True)),
        )
        for i, one in enumerate(series)
    ]


def _people_by_window(situation: Situation) -> dict[int, dict[Series, int]]:
    """Return how many different people complained, by window and series."""
    counts: dict[int, dict[Series, int]] = {}
    who: dict[Series, set[tuple[str, str]]] = defaultdict(set)
    newest_first = (one for one in reversed(situation.complaints) if one.source not in situation.silent)
    pending = next(newest_first, None)
    for window in WINDOWS:
        start = _start(situation, window)
        while pending is not None and pending.at >= start:
            for one in pending.series():
                who[one].add((pending.source, pending.who))
            pending = next(newest_first, None)
        counts[window] = {one: len(people) for one, people in who.items()}
    return counts


def _start(situation: Situation, window: int) -> float:
    return min(max(situation.now - window * HOUR, situation.since), situation.now - 60)


def _expect(situation: Situation, window: int, zone: ZoneInfo, without: Collection[str]) -> Expectation:
    return situation.baseline.expect(_start(situation, window), situation.now, window, zone, without)


def _with_unknown(expectation: Expectation, extra: int, known: Baseline) -> Expectation:
    """Return the expectation with `extra` series more, never seen: as one that was seen half a time."""
    if not extra:
        return expectation
    # The series of all #fails says how much of a week the window is; half of one is spread over eight.
    at_all = known.series.index(ALL)
    share = expectation.mean[at_all] / max(float(known.certainty[at_all]), 0.5)
    mean = np.concatenate([expectation.mean, np.full(extra, max(0.5 * share, 1e-9))])
    return Expectation(mean, np.concatenate([expectation.dispersion, np.ones(extra)]))


def _fdr(looks: Sequence[Look]) -> list[float]:
    if not looks:
        return []
    return [float(q) for q in false_discovery_control([look.p for look in looks])]


def _spikes(
    situation: Situation,
    looks: Sequence[Look],
    q_values: Mapping[tuple[str, Series], float],
    rules: Rules,
) -> list[Finding]:
    """Return the spike of a brand, if there is one: of all its #fails, else of the rarest series."""
    hot = [
        look
        for look in looks
        if q_values[look.brand, look.series] <= rules.max_q
        and look.authors >= rules.min_authors
        and look.authors >= MIN_RATIO * look.expected
    ]
    if not hot:
        return []
    chosen = min(hot, key=lambda look: (look.series != ALL, look.p))
    return [_spike(situation, chosen, looks, q_values[chosen.brand, chosen.series])]


def _spike(situation: Situation, look: Look, looks: Sequence[Look], q: float) -> Finding:
    heard = [one for one in situation.complaints if one.source not in situation.silent]
    part = in_series(heard, look.series, look.start)
    stage = look.series.name if look.series.scope is Scope.STAGE else _dominant_stage(look, looks, part)
    topics = _topics(look, looks, part)
    big = look.p <= CRITICAL_P and look.authors >= CRITICAL_RATIO * look.expected
    return Finding(
        kind=SpikeKind.SPIKE,
        severity=Severity.CRITICAL if big else Severity.WARNING,
        brand=look.brand,
        source=None,
        stage=Stage(stage) if stage else None,
        topics=topics,
        observed=len(part),
        expected=look.expected,
        expected_high=look.expected_high,
        authors=look.authors,
        p=look.p,
        q=q,
        window=look.window,
        start=look.start,
        examples=_examples(part),
    )


def _dominant_stage(look: Look, looks: Sequence[Look], part: Sequence[Complaint]) -> str | None:
    """Return the stage in which most of the excess is, if there is one."""
    excess = look.authors - look.expected
    stages = Counter(complaint.stage for complaint in part if complaint.stage != Stage.OTHER)
    usual = {
        x.series.name: x.expected for x in looks if x.series.scope is Scope.STAGE and x.window == look.window
    }
    for stage, count in stages.most_common(1):
        if count - usual.get(stage, 0.0) >= DOMINANT_SHARE * excess:
            return stage
    return None


def _topics(look: Look, looks: Sequence[Look], part: Sequence[Complaint]) -> tuple[str, ...]:
    """Return the topics that stand out among the complaints of a spike, the most unusual first."""
    there = Counter(topic for complaint in part for topic in set(complaint.topics))
    unusual = sorted(
        (x.p, x.series.name)
        for x in looks
        if x.series.scope is Scope.TOPIC and x.p <= RELATED_P and there[x.series.name] > 1
    )
    named = [name for _, name in unusual] or [name for name, n in there.most_common() if 2 * n >= len(part)]
    return tuple(named[:MAX_TOPICS])


def _examples(part: Sequence[Complaint]) -> tuple[Complaint, ...]:
    """Return the newest complaints, of different people."""
    chosen: dict[tuple[str, str], Complaint] = {}
    for complaint in reversed(part):
        chosen.setdefault((complaint.source, complaint.who), complaint)
        if len(chosen) == MAX_EXAMPLES:
            break
    return tuple(chosen.values())


def _drop_looks(situation: Situation, zone: ZoneInfo) -> list[Look]:
    """Return all #fails and each stage over a day, as to how few there are; of sources that deliver only."""
    known, deaf = situation.baseline, situation.silent | situation.suspect
    start = situation.now - DROP_WINDOW * HOUR
    if situation.since > start:
        return []
    part = [one for one in situation.complaints if one.at >= start and one.source not in deaf]
    people = count_authors(part, known.series)
    expectation = known.expect(start, situation.now, DROP_WINDOW, zone, deaf)
    counts = np.array([people[one] for one in known.series], dtype=np.float64)
    p = expectation.at_most(counts)
    return [
        Look(
            known.brand,
            one,
            DROP_WINDOW,
            start,
            people[one],
            expectation,
            i,
            float(p[i]),
            {},
        )
        for i, (one, mean) in enumerate(zip(known.series, expectation.mean, strict=True))
        if one.scope is not Scope.TOPIC and mean >= DROP_MIN_EXPECTED
    ]


def _drops(looks: Sequence[Look], q_values: Sequence[float], rules: Rules) -> list[Finding]:
    """Return the drop of a brand, if there is one: of all its #fails, else of a stage."""
    found = [
        Finding(
            kind=SpikeKind.DROP,
            severity=Severity.INFO,
            brand=look.brand,
            source=None,
            stage=Stage(look.series.name) if look.series.scope is Scope.STAGE else None,
            topics=(),
            observed=look.authors,
            expected=look.expected,
            expected_high=look.expected_high,
            authors=look.authors,
            p=look.p,
            q=q,
            window=look.window,
            start=look.start,
        )
        for look, q in zip(looks, q_values, strict=True)
        if q <= rules.max_q and look.authors * MIN_RATIO <= look.expected
    ]
    return sorted(found, key=lambda one: (one.stage is not None, one.p))[:1]
