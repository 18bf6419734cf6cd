"""How well are spikes found, and how often is an alarm false? `python -m bench.spikes` tells.

Simulated employers, eight weeks of history and four that are watched, looked at every quarter of an hour.
Complaints are negative binomial, with the seasons of day and week and days that are busy as a whole, from two
sources. In the watched weeks each employer has, at known times, an hour-long burst of posts by one author, an
outage of a source, and complaints that triple for six hours. Next to ours, on the same series: the last hour
above mean + 3 sd of the hours of four weeks, and the mean of 24 hours above that of 7 days + 2 sd of its
days. An alarm of those two begins when their condition first holds, and ends after six hours without it.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean, median
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from scipy.stats import poisson

from services.metrics.baseline import Baseline, History, Series, learn
from services.metrics.episodes import Episodes, follow
from services.metrics.seasons import HOUR, Numbers, slots_of
from services.metrics.source_health import rhythm, state, unheard
from services.metrics.spikes import Complaint, Rules, Situation, judge
from shared.spike_events import SpikeKind

ZONE = ZoneInfo("Europe/Amsterdam")
FIRST_HOUR = int(datetime(2026, 2, 2, tzinfo=UTC).timestamp()) // HOUR
"""The watched weeks, from eight later on, have the end of March in them: daylight saving begins."""
HISTORY_HOURS, WATCHED_HOURS = 8 * 168, 4 * 168
STEP_SECONDS = 900
SPIKE_HOURS, GRACE_SECONDS = 6, 2 * 3_600
STAGES = ("silence", "application", "interview", "rejection", "vacancy", "other")
STAGE_SHARES = (0.3, 0.2, 0.15, 0.1, 0.05, 0.2)
TOPICS = ("response time", "salary", "tone", "website", "planning", "contract")
SOURCES = (("linkedin", 0.7), ("reviews", 0.3))
MENTIONS_A_COMPLAINT = 5


@dataclass(frozen=True)
class Scene:
    """What one simulated employer is like, and what happens to it; moments in Unix seconds."""

    complaints: tuple[Complaint, ...]
    mentions: dict[str, Numbers]
    start: float
    end: float
    tripled: tuple[float, float] | None
    outage: tuple[float, float]


TIMES = 3
"""So many times as many complaints there are in the hours that are to be found."""
FALSE_A_MONTH = 0.2
"""So many false alarms a brand-month are aimed at, at most."""


def week_shape(hours: range) -> Numbers:
    """Return how busy each hour is, on average 1: evenings and office hours, less at weekends."""
    slots = slots_of(hours, ZONE)
    by_hour = np.array(
        [0.15] * 7 + [0.6, 1.2, 1.6, 1.7, 1.6, 1.5, 1.6, 1.6, 1.5, 1.4, 1.3, 1.3, 1.5, 1.5, 1.2]
    )
    by_hour = np.concatenate([by_hour, [0.7, 0.35]])
    by_day = np.array([1.2, 1.2, 1.1, 1.1, 1.0, 0.7, 0.7])
    shape = by_day[slots // 24] * by_hour[slots % 24]
    return np.asarray(shape / shape.mean())


def simulate(rate: float, seed: int, *, tripled: bool = True, burst: bool = True) -> Scene:
    """Return an employer with `rate` complaints an hour on average, the same for the same seed."""
    rng = np.random.default_rng(seed)
    hours = range(FIRST_HOUR, FIRST_HOUR + HISTORY_HOURS + WATCHED_HOURS)
    mean = rate * week_shape(hours)
    mean = mean * np.repeat(rng.gamma(40, 1 / 40, len(hours) // 24), 24) * rng.gamma(40, 1 / 40, len(hours))
    first_watched = HISTORY_HOURS
    spike_at = (
        first_watched
        + 168 * int(rng.integers(0, 2))
        + 24 * int(rng.integers(0, 5))
        + int(rng.integers(8, 15))
    )
    if tripled:
        mean[spike_at : spike_at + SPIKE_HOURS] *= TIMES
    outage_at = first_watched + 3 * 168 + int(rng.integers(0, 96))
    complaints: list[Complaint] = []
    mentions: dict[str, Numbers] = {}
    for source, share in SOURCES:
        counts = rng.poisson(mean * share)
        said = counts + rng.poisson(rate * week_shape(hours) * share * (MENTIONS_A_COMPLAINT - 1))
        if source == "linkedin":
            counts[outage_at : outage_at + 48] = 0
            said[outage_at : outage_at + 48] = 0
        mentions[source] = said.astype(np.float64)
        complaints += _complaints(rng, source, counts, hours)
    if burst:
        complaints += _one_author(rng, (hours[0] + first_watched + 2 * 168 + 60) * HOUR)
    start, end = hours[0] + first_watched, hours[0] + len(hours)
    at = (hours[0] + spike_at) * HOUR
    return Scene(
        complaints=tuple(sorted(complaints, key=lambda one: one.at)),
        mentions=mentions,
        start=float(start * HOUR),
        end=float(end * HOUR),
        tripled=(float(at), float(at + SPIKE_HOURS * HOUR)) if tripled else None,
        outage=(float((hours[0] + outage_at) * HOUR), float((hours[0] + outage_at + 48) * HOUR)),
    )


def _complaints(
    rng: np.random.Generator, source: str, counts: np.ndarray, hours: range
) -> Iterable[Complaint]:
    for hour, count in zip(hours, counts.tolist(), strict=True):
        for at in rng.uniform(hour * HOUR, (hour + 1) * HOUR, count):
            topics = tuple(rng.choice(TOPICS, int(rng.integers(0, 3)), replace=False).tolist())
            stage = str(rng.choice(STAGES, p=STAGE_SHARES))
            who = f"author {rng.integers(0, 5_000)}"
            yield Complaint(float(at), "Acme", source, stage, topics, who, _id(rng), "")


def _one_author(rng: np.random.Generator, start: int) -> Iterable[Complaint]:
    for at in rng.uniform(start, start + HOUR, 50):
        yield Complaint(float(at), "Acme", "linkedin", "silence", ("tone",), "loud", _id(rng), "")


def _id(rng: np.random.Generator) -> UUID:
    return UUID(bytes=rng.bytes(16), version=4)


def history_until(scene: Scene, now: float) -> History:
    """Return the eight weeks before `now`, as the service reads them."""
    end = int(now // HOUR)
    first = end - HISTORY_HOURS
    offset = first - FIRST_HOUR
    mentions = {source: counts[offset : offset + HISTORY_HOURS] for source, counts in scene.mentions.items()}
    who: dict[tuple[Series, str, int], set[str]] = {}
    for one in scene.complaints:
        hour = int(one.at // HOUR) - first
        if 0 <= hour < HISTORY_HOURS:
            for series in one.series():
                who.setdefault((series, one.source, hour), set()).add(one.who)
    complainants: dict[tuple[Series, str], Numbers] = {}
    for (series, source, hour), people in who.items():
        complainants.setdefault((series, source), np.zeros(HISTORY_HOURS))[hour] = len(people)
    rhythms = {source: rhythm(counts, first, ZONE) for source, counts in mentions.items()}
    outages = {source: known.outages for source, known in rhythms.items() if known}
    return History("Acme", first, mentions, complainants, outages)


def ours(scene: Scene) -> list[float]:
    """Return when our detector raises a spike."""
    raised: list[float] = []
    episodes = Episodes({})
    times = np.array([one.at for one in scene.complaints])
    baseline: Baseline | None = None
    for now in np.arange(scene.start, scene.end, STEP_SECONDS).tolist():
        if baseline is None or now % 86_400 == 0:
            history = history_until(scene, now)
            baseline = learn(history, ZONE)
            rhythms = {
                source: known
                for source, counts in history.mentions.items()
                if (known := rhythm(counts, history.first_hour, ZONE)) is not None
            }
        if baseline is None:
            continue
        states = {
            source: state(source, known, _last(scene, source, now), now, ZONE)
            for source, known in rhythms.items()
        }
        recent = scene.complaints[np.searchsorted(times, now - 86_400) : np.searchsorted(times, now)]
        suspect = frozenset(name for name, one in states.items() if one.suspect)
        situation = Situation(baseline, now, recent, episodes.since("Acme"), unheard(states), suspect)
        judgement = judge([situation], ZONE, Rules())
        episodes, changed = follow(episodes, judgement, (), datetime.fromtimestamp(now, UTC))
        raised += [now for one in changed if one.kind is SpikeKind.SPIKE and one.raised_at.timestamp() == now]
    return raised


def _last(scene: Scene, source: str, now: float) -> float:
    counts = scene.mentions[source][: int(now // HOUR) - FIRST_HOUR]
    return float((FIRST_HOUR + np.flatnonzero(counts)[-1] + 1) * HOUR)


def mean_and_3_sd(scene: Scene) -> list[float]:
    """Return when the last hour rises above mean + 3 sd of the hours of the four weeks before it."""
    times = np.array([one.at for one in scene.complaints])

    def above(now: float) -> bool:
        hours = np.histogram(times, np.arange(now - 28 * 86_400 - HOUR, now + 1, HOUR))[0]
        return bool(hours[-1] > hours[:-1].mean() + 3 * hours[:-1].std())

    return _alarms(scene, above)


def day_above_week(scene: Scene) -> list[float]:
    """Return when the mean of 24 hours rises above that of 7 days and 2 sd of its days."""
    times = np.array([one.at for one in scene.complaints])

    def above(now: float) -> bool:
        days = np.histogram(times, np.arange(now - 8 * 86_400, now + 1, 86_400))[0]
        return bool(days[-1] > days[:-1].mean() + 2 * days[:-1].std())

    return _alarms(scene, above)


def _alarms(scene: Scene, above: Callable[[float], bool]) -> list[float]:
    alarms: list[float] = []
    last = -np.inf
    for now in np.arange(scene.start, scene.end, STEP_SECONDS).tolist():
        if above(now):
            if now - last > 6 * HOUR:
                alarms.append(now)
            last = now
    return alarms


@dataclass(frozen=True)
class Score:
    """How a detector did over a number of employers."""

    found: int
    spikes: int
    delays: tuple[float, ...]
    false: int
    months: float

    @property
    def recall(self) -> float:
        """Part of the tripled complaints for which an alarm began within two hours."""
        return self.found / max(self.spikes, 1)

    @property
    def precision(self) -> float:
        """Part of the alarms that were about tripled complaints."""
        true = len(self.delays)
        return true / max(true + self.false, 1)

    @property
    def false_a_month(self) -> float:
        """False alarms per brand-month of 30 days."""
        return self.false / self.months


def score(scenes: Sequence[Scene], detect: Callable[[Scene], list[float]]) -> Score:
    """Run a detector over the scenes."""
    found = false = 0
    delays: list[float] = []
    for scene in scenes:
        alarms = detect(scene)
        # Four hours after the end it may still be what is counted.
        start, end = scene.tripled or (0.0, 0.0)
        true = [at for at in alarms if start <= at <= end + 4 * HOUR]
        false += len(alarms) - len(true)
        if true:
            delays.append(true[0] - start)
            found += true[0] - start <= GRACE_SECONDS
    months = sum((scene.end - scene.start) / (30 * 86_400) for scene in scenes)
    return Score(found, sum(1 for scene in scenes if scene.tripled), tuple(delays), false, months)


def best_possible(rate: float, scene: Scene, hours: int = 2) -> float:
    """Return how likely the tripled hours of `scene` are found in time by who knows all but the outcome.

    Who knows what is usual at that very hour, of counts without busy days of their own (Poisson), looks once
    an hour at the last `hours`, and is as strict at each, so that 0.2 false alarms a brand-month come: a
    threshold on the count is then the best test there is (Neyman and Pearson).
    """
    assert scene.tripled is not None
    first = int(scene.tripled[0] // HOUR)
    shape = week_shape(range(FIRST_HOUR, FIRST_HOUR + HISTORY_HOURS + WATCHED_HOURS))
    usual = rate * float(shape[first - FIRST_HOUR : first - FIRST_HOUR + hours].sum())
    threshold = int(poisson.isf(FALSE_A_MONTH / (30 * 24), usual)) + 1
    return float(poisson.sf(threshold - 1, TIMES * usual))


def main() -> None:
    """Print a Markdown table: detector by complaints an hour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--employers", type=int, default=20, help="for each rate")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.5, 2.0, 5.0, 10.0, 20.0])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        "| complaints an hour | detector | recall in 2 h | precision | median delay | false a brand-month |"
    )
    print("|---|---|---|---|---|---|")
    for rate in options.rates:
        scenes = [simulate(rate, options.seed * 1_000 + number) for number in range(options.employers)]
        best = fmean(best_possible(rate, scene) for scene in scenes)
        print(f"| {rate:g} | at best | {best:.2f} | – | – | {FALSE_A_MONTH:.2f} |")
        for name, detect in (
            ("Klankbord", ours),
            ("mean + 3 sd", mean_and_3_sd),
            ("24 h > 7 d + 2 sd", day_above_week),
        ):
            result = score(scenes, detect)
            delay = f"{median(result.delays) / 60:.0f} min" if result.delays else "–"
            print(
                f"| {rate:g} | {name} | {result.recall:.2f} | {result.precision:.2f} | {delay} "
                f"| {result.false_a_month:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
