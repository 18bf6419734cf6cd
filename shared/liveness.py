"""Notices a consumer that stands still although work is waiting, as consumers can die quietly."""

import asyncio
import os
import sys
from collections.abc import Callable, Hashable
from typing import NamedTuple

import structlog

from shared.clock import Clock

log = structlog.get_logger()
EVERY_SECONDS = 1.0


class Standing(NamedTuple):
    """How a consumer stands."""

    progress: Hashable
    """Anything that changes when work gets done."""
    behind: int
    """Messages that wait."""
    excused: bool
    """It knows why it waits: an outage that it is waiting out, or a rebalance."""


class StallDetector:
    """Compares progress with what waits, each time it is asked; pure but for the clock it is given."""

    def __init__(self, limit_seconds: float, clock: Clock) -> None:
        self.limit = limit_seconds
        self._clock = clock
        self._progress: Hashable = None
        self._since = clock.monotonic()

    def stalled(self, progress: Hashable, *, work_waiting: bool, excused: bool = False) -> bool:
        """Whether nothing has moved for the limit, with work waiting all that time.

        The parameters are those of `Standing`.
        """
        if excused or not work_waiting or progress != self._progress:
            self._progress = progress
            self._since = self._clock.monotonic()
        return self._clock.monotonic() - self._since >= self.limit


def end_at_once(code: int) -> None:
    """End the process without an orderly stop, which would wait for a thread that hangs."""
    sys.stdout.flush()
    os._exit(code)


async def exit_when_stalled(
    detector: StallDetector, ask: Callable[[], Standing], end: Callable[[int], None] = end_at_once
) -> None:
    """Ask how the consumer stands, for ever; end the process, with exit code 1, when it has stalled.

    What was in hand is read again.
    """
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        progress, behind, excused = ask()
        if detector.stalled(progress, work_waiting=behind > 0, excused=excused):
            log.error("stalled", behind=behind, seconds=detector.limit, then="this process ends")
            end(1)
            return
