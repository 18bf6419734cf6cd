"""How long to wait before trying again: exponential, with jitter, and as long as the server asks."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_SECONDS = 86_400.0
_MOST_DOUBLINGS = 32


def backoff_seconds(failures: int, *, base: float, cap: float, jitter: float) -> float:
    """Return the seconds to wait after the `failures`-th failure in a row (1 is the first).

    Doubles from `base` up to `cap`; `jitter` (0…1, random) then takes off up to half, so that those who
    failed together do not come back together.
    """
    doubled = base * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS)
    return min(cap, doubled) * (1 - jitter / 2)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (seconds or an HTTP date), at most a day.

    None when there is no header, or one that says nothing intelligible.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        # A longer number is more than a day anyway, and may be more than a float holds.
        return min(float(value[:12]), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)
