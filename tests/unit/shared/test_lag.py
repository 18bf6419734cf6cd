"""Lag is what Kafka has, less what was committed."""

from aiokafka import TopicPartition

from shared.lag import lags

FIRST, SECOND, THIRD = (TopicPartition("mentions.raw", number) for number in range(3))


def test_lag_counts_from_the_commit_or_from_the_oldest_message_that_is_left() -> None:
    begins = {FIRST: 0, SECOND: 40, THIRD: 90}
    ends = {FIRST: 100, SECOND: 100, THIRD: 100}
    done = {FIRST: 60, THIRD: 20}
    assert lags(begins, ends, done) == {0: 40, 1: 60, 2: 10}


def test_a_commit_beyond_the_end_is_no_lag() -> None:
    assert lags({FIRST: 0}, {FIRST: 5}, {FIRST: 9}) == {0: 0}
