"""Tells a few bad messages from a flood of them.

A few go to mentions.dead and the rest goes on. A flood means that something else is wrong (another
producer's topic, a broken release), and emptying the topic into mentions.dead would only bury it: the
consumer stops instead, with nothing committed that it did not process. Cf. getsentry/arroyo's DlqLimitState.
"""

from collections import deque
from collections.abc import Sequence


class FloodGuard:
    """Counts bad messages in the order in which they come."""

    def __init__(self, consecutive: int, ratio: float, window: int) -> None:
        """Stop at `consecutive` bad ones in a row, or a share of more than `ratio` in the last `window`."""
        self._consecutive_limit = consecutive
        self._ratio_limit = ratio
        self._recent: deque[bool] = deque(maxlen=window)
        self._consecutive = 0

    def reason_to_stop(self, verdicts: Sequence[bool]) -> str | None:
        """Take in the next messages (True: bad); return why to stop, or None to go on."""
        worst = self._consecutive
        for bad in verdicts:
            self._consecutive = self._consecutive + 1 if bad else 0
            worst = max(worst, self._consecutive)
        self._recent.extend(verdicts)
        if worst >= self._consecutive_limit:
            return f"{worst:,} messages in a row cannot be processed (limit {self._consecutive_limit:,})"
        share = sum(self._recent) / len(self._recent) if self._recent else 0.0
        if len(self._recent) == self._recent.maxlen and share > self._ratio_limit:
            limit = f"limit {self._ratio_limit:.0%}"
            return f"{share:.0%} of the last {len(self._recent):,} messages cannot be processed ({limit})"
        return None
