"""Notices a consumer that stands still although work is waiting, as consumers can die quietly."""

from collections.abc import Hashable

from shared.clock import Clock


class StallDetector:
    """Compares progress with what waits, each time it is asked; pure but for the clock it is given."""

    def __init__(self, limit_seconds: float, clock: Clock) -> None:
        self._limit = limit_seconds
        self._clock = clock
        self._progress: Hashable = None
        self._since = clock.monotonic()

    def stalled(self, progress: Hashable, *, work_waiting: bool, excused: bool = False) -> bool:
        """Whether nothing has moved for the limit, with work waiting all that time.

        `progress` is anything that changes when work gets done. `excused` says that the consumer knows
        why it waits: an outage that it is waiting out, or a rebalance.
        """
        if excused or not work_waiting or progress != self._progress:
            self._progress = progress
            self._since = self._clock.monotonic()
        return self._clock.monotonic() - self._since >= self._limit
