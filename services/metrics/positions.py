"""Which version of a mention is shown, and what must be hidden for it. Pure.

`mentions` is sorted by brand and time, so a mention whose brand or time is edited gets a second row, which
replaces nothing. The sink therefore notes every place before it writes a row there (`mention_positions`), and
then asks which mentions have more than one. Of those the highest version is shown; at all other places a
deletion with that version is written, which beats whatever row is there or is still to come from a slower
worker. All of it may be done twice, or in another order: the outcome is the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.metrics.rows import Event, Position

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a brand, the unit in which the rollup is counted; `start_ms` since 1970."""

    brand: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is to be written."""

    shown: tuple[Event, ...]
    hidden: tuple[Position, ...]
    stale: int

    @property
    def hours(self) -> frozenset[Hour]:
        """The hours whose counts change with it."""
        shown = (hour_of(event.position) for event in self.shown)
        return frozenset(shown) | {hour_of(position) for position in self.hidden}


def hour_of(position: Position) -> Hour:
    """Return the hour of the rollup that a mention at `position` counts in."""
    return Hour(position.brand, position.published_ms - position.published_ms % HOUR_MS)


def newest(events: Iterable[Event]) -> list[Event]:
    """Return one event per id: that of the highest version, the later one where versions are equal."""
    by_id: dict[UUID, Event] = {}
    for event in events:
        known = by_id.get(event.position.id)
        if known is None or known.position.version <= event.position.version:
            by_id[event.position.id] = event
    return list(by_id.values())


def resolve(events: Sequence[Event], contested: Mapping[UUID, Sequence[Position]]) -> Resolution:
    """Return what to write for `events` (one per id).

    `contested` has, per id that stood at more than one place, all its positions; `events` are among them.
    """
    shown: list[Event] = []
    hidden: list[Position] = []
    for event in events:
        positions = contested.get(event.position.id, (event.position,))
        # Place settles equal versions, so that every worker chooses the same.
        winner = max(positions, key=lambda p: (p.version, p.published_ms, p.brand))
        if event.position.place == winner.place:
            shown.append(event)
        hidden += [
            Position(winner.id, winner.version, loser.brand, loser.published_ms)
            for loser in positions
            if loser.place != winner.place
        ]
    return Resolution(tuple(shown), tuple(hidden), stale=len(events) - len(shown))
