"""Waiting before trying again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.backoff import MAX_RETRY_AFTER_SECONDS, backoff_seconds, retry_after_seconds

NOW = datetime(2026, 3, 29, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600)])
def test_it_doubles_up_to_the_cap(failures: int, seconds: float) -> None:
    assert backoff_seconds(failures, base=30, cap=3600, jitter=0) == seconds


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_it_stays_between_half_and_all_of_the_cap_at_most(failures: int, jitter: float) -> None:
    assert 15 <= backoff_seconds(failures, base=30, cap=3600, jitter=jitter) <= 3600


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 400, MAX_RETRY_AFTER_SECONDS),
        ("Sun, 29 Mar 2026 10:01:30 GMT", 90),
        ("Sun, 29 Mar 2026 10:01:30 -0000", 90),
        ("Sun, 29 Mar 2026 09:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("١٢", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds
