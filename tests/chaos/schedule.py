"""Which fault happens when: drawn from a seed, so that a run that failed can be repeated. No I/O."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What happens to a process."""

    KILL = "kill"
    """SIGKILL: it gets no chance to do anything."""
    FREEZE = "freeze"
    """SIGSTOP, and SIGCONT later: it is there and does not answer."""
    RESTART = "restart"
    """SIGTERM: it stops as it should, and is started again."""


@dataclass(frozen=True)
class Strike:
    """One fault."""

    at: float
    """Seconds since the begin."""
    target: str
    fault: Fault
    lasts: float
    """Seconds until a frozen process goes on; 0 for the other faults."""


PAUSES = (2.0, 6.0)
"""Seconds between one strike and the next."""
FREEZES = (1.0, 12.0)
"""Longer than Kafka waits for a consumer (10 s), at times."""


def schedule(seed: int, seconds: float, targets: Sequence[str]) -> list[Strike]:
    """Return the strikes of a run of so many seconds, in order; no target twice before all were struck."""
    chance = random.Random(seed)
    strikes: list[Strike] = []
    at, waiting = chance.uniform(*PAUSES), list[str]()
    while at < seconds:
        if not waiting:
            waiting = list(targets)
            chance.shuffle(waiting)
        fault = chance.choice(list(Fault))
        lasts = round(chance.uniform(*FREEZES), 2) if fault is Fault.FREEZE else 0.0
        strikes.append(Strike(round(at, 2), waiting.pop(), fault, lasts))
        at += chance.uniform(*PAUSES)
    return strikes
