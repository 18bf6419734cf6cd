"""`klankbord spikes backtest`: what the detector would have raised in a period that is over.

It looks as the watch does, at each step with what had been published by then, and learns anew every hour.
Nothing is kept, published or told to anybody. The same history gives the same answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.metrics.baseline import HISTORY_WEEKS
from services.metrics.episodes import Episodes, follow
from services.metrics.source_health import RETIRED_SECONDS
from services.metrics.spike_store import SpikeStore
from services.metrics.spikes import Rules, judge
from services.metrics.usual import Usual, learn_all, silences, situations, source_states
from shared.errors import ConfigError
from shared.settings import Settings
from shared.spike_events import Spike

MAX_LOOKS = 50_000


@dataclass(frozen=True)
class Period:
    """From when to when to look back, and how often to look."""

    start: datetime
    end: datetime
    step: timedelta

    def looks(self) -> Iterator[datetime]:
        """Yield the moments of the looks. Raises ConfigError when there are too many, or none."""
        many = (self.end - self.start) // self.step
        if many <= 0:
            raise ConfigError("--from must be before --to by at least one step.")
        if many > MAX_LOOKS:
            raise ConfigError(f"That is {many:,} looks; at most {MAX_LOOKS:,}: take a larger --step-minutes.")
        yield from (self.start + number * self.step for number in range(1, many + 1))


@dataclass(frozen=True)
class Found:
    """What a backtest found."""

    spikes: tuple[Spike, ...]
    """As they were at their end, or at the end of the period; oldest first."""
    looks: int
    brands: frozenset[str]
    """Those with enough history for a look; of others nothing can be said."""


def backtest(store: SpikeStore, period: Period, zone: ZoneInfo, brand: str | None = None) -> Found:
    """Return what would have been raised; with `brand`, of that one only (and no silent sources).

    Raises DependencyUnavailable, and ConfigError on a period of too many looks.
    """
    episodes, found, brands, looks = Episodes({}), dict[object, Spike](), set[str](), 0
    usual, learnt = Usual({}, {}), None
    for now in period.looks():
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if hour != learnt:
            usual, learnt = learn_all(store.past(hour - timedelta(weeks=HISTORY_WEEKS), hour), zone), hour
            brands |= usual.baselines.keys()
        complaints = store.recent(now - timedelta(days=1), now)
        since = now - timedelta(seconds=RETIRED_SECONDS + 86_400)
        states = source_states(usual, store.newest(since, now), now.timestamp(), zone)
        judgement = judge(situations(usual, complaints, states, episodes, now.timestamp()), zone, Rules())
        episodes, changed = follow(episodes, judgement, silences(states, now.timestamp()), now)
        found |= {spike.id: spike for spike in changed}
        looks += 1
    wanted = [spike for spike in found.values() if brand in {None, spike.brand}]
    known = frozenset(brands if brand is None else brands & {brand})
    return Found(tuple(sorted(wanted, key=lambda spike: spike.raised_at)), looks, known)


def run_backtest(settings: Settings, period: Period, brand: str | None, tell: Callable[[str], None]) -> int:
    """Print what would have been raised; return 0."""
    zone = ZoneInfo(settings.page_timezone)
    store = SpikeStore.open(settings)
    try:
        found = backtest(store, period, zone, brand)
    finally:
        store.close()
    for spike in found.spikes:
        tell(line(spike, zone))
    subject = f"brand {brand}" if brand else f"{len(found.brands)} brands with enough history"
    tell(f"{len(found.spikes)} raised in {found.looks:,} looks, at {subject}.")
    if not found.brands:
        tell(
            "Too little history to say anything: at least four weeks with mentions before --from are needed."
        )
    return 0


def line(spike: Spike, zone: ZoneInfo) -> str:
    """Return one line on a spike."""
    ended = f"{spike.ended_at.astimezone(zone):%m-%d %H:%M}" if spike.ended_at else "still on"
    where = ", ".join(filter(None, (spike.stage, *spike.topics))) or "-"
    return (
        f"{spike.raised_at.astimezone(zone):%Y-%m-%d %H:%M} to {ended}  "
        f"{spike.kind.value} {spike.severity.value}  "
        f"{spike.brand or spike.source}  {spike.observed} #fails by {spike.distinct_authors} people, "
        f"{spike.expected:.2g} usual  [{where}]"
    )
