"""What a migration's statements become on a cluster."""

import re

import pytest

from services.metrics.cluster import for_cluster, on_every_server, sharding_key
from services.metrics.migrate import load, refuse_other_shape
from shared.errors import ConfigError

TABLE = """CREATE TABLE IF NOT EXISTS things
(
    id UUID,
    brand LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYear(at)
ORDER BY (brand, at, id)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000"""


def test_a_table_is_replicated_on_every_server_and_distributed_over_them() -> None:
    local, distributed = for_cluster(TABLE, "kb")
    assert local.startswith("CREATE TABLE IF NOT EXISTS things_local ON CLUSTER `kb`\n(\n    id UUID,")
    assert (
        "ENGINE = ReplicatedReplacingMergeTree("
        "'/clickhouse/kb/tables/{shard}/{database}/{table}', '{replica}', version)\n"
        "PARTITION BY toYear(at)\nORDER BY (brand, at, id)\n"
        "SETTINGS index_granularity = 512, replicated_deduplication_window = 1000"
    ) in local
    assert distributed == (
        "CREATE TABLE IF NOT EXISTS things ON CLUSTER `kb` AS things_local\n"
        "ENGINE = Distributed(`kb`, currentDatabase(), things_local, cityHash64(brand, id))"
    )


def test_a_table_without_arguments_or_settings_is_a_table_too() -> None:
    local, distributed = for_cluster(
        "CREATE TABLE IF NOT EXISTS t (a Int8) ENGINE = MergeTree ORDER BY a", "kb"
    )
    assert (
        "ReplicatedMergeTree('/clickhouse/kb/tables/{shard}/{database}/{table}', '{replica}') ORDER" in local
    )
    assert distributed.endswith("t_local, cityHash64(a))")


@pytest.mark.parametrize(
    ("order_by", "key"),
    [
        ("(brand, published_at, id)", "cityHash64(brand, id)"),
        ("(id, brand, published_at)", "cityHash64(brand, id)"),
        ("(brand, hour, source)", "cityHash64(brand)"),
        ("id", "cityHash64(id)"),
        ("(source, toDate(day))", "cityHash64(source, toDate(day))"),
        ("name", "cityHash64(name)"),
    ],
)
def test_the_shard_follows_from_the_sort_key(order_by: str, key: str) -> None:
    assert sharding_key(order_by) == key


def test_rows_that_replace_each_other_are_on_one_shard_in_every_table_of_ours() -> None:
    seen = set()
    for migration in load():
        for statement in migration.statements():
            for line in for_cluster(statement, "kb"):
                if match := re.search(r"Distributed\(.*, (\w+)_local, cityHash64\((.*)\)\)", line):
                    order = re.search(r"ORDER BY \(?([^)\n]*)", statement)
                    assert order is not None
                    sort_key = order[1].split(", ")
                    assert set(match[2].split(", ")) <= set(sort_key), match[1]
                    seen.add(match[1])
    assert {"mentions", "mention_positions", "mentions_hourly"} <= seen


def test_a_change_of_columns_is_made_to_both_tables_the_local_one_first() -> None:
    commands = "ADD COLUMN IF NOT EXISTS a Enum8('x,' = 1, 'y' = 2), MODIFY COLUMN b Array(Tuple(Int8, Int8))"
    assert for_cluster(f"ALTER TABLE things {commands}", "kb") == [
        f"ALTER TABLE things_local ON CLUSTER `kb` {commands}",
        f"ALTER TABLE things ON CLUSTER `kb` {commands}",
    ]


@pytest.mark.parametrize(
    "commands",
    ["ADD INDEX IF NOT EXISTS i text TYPE tokenbf_v1(1, 2, 3) GRANULARITY 4", "MODIFY SETTING a = 1, b = 2"],
)
def test_a_change_of_storage_is_made_to_the_local_table_only(commands: str) -> None:
    assert for_cluster(f"ALTER TABLE things {commands}", "kb") == [
        f"ALTER TABLE things_local ON CLUSTER `kb` {commands}"
    ]


def test_a_change_of_both_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="ALTER TABLE t: put what is about columns in a statement of its own"
    ):
        for_cluster("ALTER TABLE t ADD COLUMN a Int8, ADD INDEX i a TYPE minmax", "kb")


def test_a_table_that_goes_goes_everywhere() -> None:
    assert for_cluster("DROP TABLE IF EXISTS things", "kb") == [
        "DROP TABLE IF EXISTS things ON CLUSTER `kb` SYNC",
        "DROP TABLE IF EXISTS things_local ON CLUSTER `kb` SYNC",
    ]


def test_a_view_is_made_everywhere_and_a_backfill_runs_once() -> None:
    assert for_cluster("CREATE VIEW IF NOT EXISTS v AS SELECT 1", "kb") == [
        "CREATE VIEW IF NOT EXISTS v ON CLUSTER `kb` AS SELECT 1"
    ]
    assert for_cluster("INSERT INTO a SELECT * FROM b", "kb") == ["INSERT INTO a SELECT * FROM b"]


@pytest.mark.parametrize(
    "statement", ["CREATE MATERIALIZED VIEW v TO t AS SELECT 1", "RENAME TABLE a TO b", "TRUNCATE TABLE a"]
)
def test_what_it_does_not_know_is_refused_not_guessed(statement: str) -> None:
    with pytest.raises(
        ConfigError, match=re.escape(f"does not know what this is on a cluster: '{statement}'")
    ):
        for_cluster(statement, "kb")


@pytest.mark.parametrize("name", ["", "a b", "a`; DROP TABLE x", "1st", "{cluster}"])
def test_a_name_that_is_none_never_gets_into_sql(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a ClickHouse cluster"):
        for_cluster(TABLE, name)


def test_what_was_applied_is_known_on_every_server() -> None:
    statement = on_every_server(
        "CREATE TABLE IF NOT EXISTS m (a Int8)\nENGINE = ReplacingMergeTree\nORDER BY a\n", "kb"
    )
    assert (
        "ReplicatedReplacingMergeTree('/clickhouse/kb/tables/{database}/{table}', '{shard}-{replica}')"
        in statement
    )


@pytest.mark.parametrize(
    ("engine", "cluster"),
    [(None, None), (None, "kb"), ("ReplacingMergeTree", None), ("ReplicatedReplacingMergeTree", "kb")],
)
def test_tables_made_the_same_way_may_be_migrated(engine: str | None, cluster: str | None) -> None:
    refuse_other_shape(engine, cluster)


def test_tables_made_the_other_way_are_refused() -> None:
    with pytest.raises(ConfigError, match="made for one server: run klankbord migrate without --cluster"):
        refuse_other_shape("ReplacingMergeTree", "kb")
    with pytest.raises(ConfigError, match="made for a cluster: run klankbord migrate with --cluster"):
        refuse_other_shape("ReplicatedReplacingMergeTree", None)
