"""When a batch is full, which offsets follow from it, and how often the rollup is recounted."""

from aiokafka import TopicPartition

from services.metrics.batch import Batch, RecountPace, next_offsets
from tests.unit.metrics.events import record


def test_an_empty_batch_is_never_due() -> None:
    batch = Batch(max_rows=2, max_seconds=1.0)
    assert not batch.due(1_000.0)
    assert batch.seconds_left(1_000.0) == 1.0


def test_a_batch_is_due_by_rows() -> None:
    batch = Batch(max_rows=2, max_seconds=1.0)
    batch.add([record(b"x")], now=0.0)
    assert (batch.due(0.5), batch.room()) == (False, 1)
    batch.add([record(b"y")], now=0.5)
    assert batch.due(0.5)


def test_a_batch_is_due_by_bytes() -> None:
    batch = Batch(max_rows=100, max_seconds=1.0, max_bytes=10)
    batch.add([record(b"x" * 9), record(None)], now=0.0)
    assert not batch.due(0.0)
    batch.add([record(b"x")], now=0.0)
    assert batch.due(0.0)


def test_a_batch_is_due_by_the_age_of_its_first_record() -> None:
    batch = Batch(max_rows=100, max_seconds=1.0)
    batch.add([record(b"x")], now=5.0)
    batch.add([record(b"x")], now=5.9)
    assert round(batch.seconds_left(5.9), 6) == 0.1
    assert not batch.due(5.9)
    assert batch.due(6.0)


def test_taking_leaves_it_empty_and_the_age_starts_anew() -> None:
    batch = Batch(max_rows=2, max_seconds=1.0)
    records = [record(b"x", 0), record(b"y", 1)]
    batch.add(records, now=0.0)
    assert batch.take() == records
    assert (batch.records, batch.size, batch.due(9.0)) == ([], 0, False)
    batch.add([record(b"z", 2)], now=9.0)
    assert not batch.due(9.5)


def test_the_offset_to_commit_is_that_of_the_next_record() -> None:
    records = [record(b"", 3, 0), record(b"", 4, 0), record(b"", 9, 1)]
    assert next_offsets(records) == {
        TopicPartition("mentions.enriched", 0): 5,
        TopicPartition("mentions.enriched", 1): 10,
    }


def test_recounts_follow_each_other_by_a_second_at_least() -> None:
    pace = RecountPace()
    assert pace.due(0.0)
    pace.took(0.01, now=0.0)
    assert (pace.due(0.99), pace.due(1.0)) == (False, True)


def test_slow_recounts_take_a_quarter_of_the_time() -> None:
    pace = RecountPace()
    pace.took(2.0, now=10.0)
    assert (pace.due(15.9), pace.due(16.0)) == (False, True)
