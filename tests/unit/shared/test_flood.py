"""A few bad messages pass, a flood stops the consumer."""

from hypothesis import given
from hypothesis import strategies as st

from shared.flood import FloodGuard

GOOD, BAD = False, True


def test_a_run_of_bad_messages_stops_also_across_batches() -> None:
    guard = FloodGuard(consecutive=5, ratio=1, window=1_000)
    assert guard.reason_to_stop([BAD] * 4) is None
    reason = guard.reason_to_stop([BAD])
    assert reason is not None and "5 messages in a row" in reason


def test_one_good_message_breaks_the_run() -> None:
    guard = FloodGuard(consecutive=5, ratio=1, window=1_000)
    assert guard.reason_to_stop([BAD] * 4 + [GOOD] + [BAD] * 4) is None


def test_the_share_counts_once_the_window_is_full() -> None:
    guard = FloodGuard(consecutive=1_000, ratio=0.5, window=10)
    assert guard.reason_to_stop([BAD, GOOD, BAD] * 3) is None
    reason = guard.reason_to_stop([BAD])
    assert reason is not None and "70% of the last 10" in reason


@given(st.lists(st.lists(st.booleans(), max_size=20), max_size=20))
def test_how_messages_are_batched_makes_no_difference_to_the_run(batches: list[list[bool]]) -> None:
    whole = [verdict for batch in batches for verdict in batch]
    in_batches = FloodGuard(consecutive=3, ratio=1, window=1_000)
    stopped = any(in_batches.reason_to_stop(batch) is not None for batch in batches)
    assert stopped == (FloodGuard(consecutive=3, ratio=1, window=1_000).reason_to_stop(whole) is not None)
