"""Where messages go: where Kafka's own partitioner puts them."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from shared.produce import partitions_of


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 100))
def test_keys_go_where_kafkas_default_partitioner_puts_them(keys: list[bytes], count: int) -> None:
    every = list(range(count))
    assert partitions_of(keys, count) == [DefaultPartitioner()(key, every, every) for key in keys]
