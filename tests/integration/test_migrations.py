"""Migrations on the real engine: once each, again without harm, frozen when applied."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from clickhouse_connect.driver.client import Client

from services.metrics.migrate import load, migrate, pending
from shared.clickhouse import connect
from shared.errors import ConfigError, DependencyUnavailable
from shared.settings import Settings

pytestmark = pytest.mark.io
ALL = [migration.label for migration in load()]


@pytest.fixture
def settings(store_settings: Settings) -> Iterator[Settings]:
    """Name a database of one's own, not made yet."""
    own = store_settings.model_copy(update={"clickhouse_database": f"test_{uuid4().hex}"})
    yield own
    with connect(own, database="default") as client:
        client.command(f"DROP DATABASE IF EXISTS {own.clickhouse_database}")


def _client(settings: Settings) -> Client:
    client = connect(settings, database="default")
    client.database = settings.clickhouse_database
    return client


def _tables(settings: Settings) -> list[str]:
    with _client(settings) as client:
        rows = client.query("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name")
        return [name for (name,) in rows.result_rows]


def test_makes_the_database_and_the_tables_and_says_so(settings: Settings) -> None:
    assert migrate(settings) == [f"applied {label}" for label in ALL]
    assert _tables(settings) == [
        "corrections",
        "labelled_mentions",
        "mention_positions",
        "mentions",
        "mentions_hourly",
        "schema_migrations",
        "spikes",
    ]


def test_a_second_time_nothing_is_applied(settings: Settings) -> None:
    migrate(settings)
    assert migrate(settings) == [f"the tables are up to date ({len(ALL)} migrations)"]
    with _client(settings) as client:
        recorded = client.query(
            "SELECT version, name, length(sha256) FROM schema_migrations ORDER BY version"
        )
        assert list(recorded.result_rows) == [(m.version, m.name, 64) for m in load()]


def test_several_at_the_same_time_do_no_harm(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        lines = [line for lines in pool.map(migrate, [settings] * 4) for line in lines]
    assert {f"applied {label}" for label in ALL} <= set(lines)
    with _client(settings) as client:
        assert pending(client) == []


def test_what_is_pending_is_known_by_name(settings: Settings) -> None:
    with _client(settings) as client:
        assert pending(client) == ALL
        migrate(settings)
        assert pending(client) == []


def test_a_new_file_is_applied_on_top_with_all_its_statements(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text(
        "CREATE TABLE IF NOT EXISTS one (a Int8) ENGINE = MergeTree ORDER BY a;\n"
    )
    assert migrate(settings, tmp_path) == ["applied 0001_one"]
    (tmp_path / "0002_two.sql").write_text(
        "-- Two; in one file;\n"
        "CREATE TABLE IF NOT EXISTS two (a Int8) ENGINE = MergeTree ORDER BY a;\n"
        "ALTER TABLE one ADD COLUMN IF NOT EXISTS b String DEFAULT ';';\n"
    )
    assert migrate(settings, tmp_path) == ["applied 0002_two"]
    assert _tables(settings) == ["one", "schema_migrations", "two"]
    with _client(settings) as client:
        client.insert("one", [(1,)], column_names=["a"])
        assert list(client.query("SELECT a, b FROM one").result_rows) == [(1, ";")]


def test_an_applied_file_that_was_changed_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "0001_one.sql"
    file.write_text("CREATE TABLE IF NOT EXISTS one (a Int8) ENGINE = MergeTree ORDER BY a;\n")
    migrate(settings, tmp_path)
    file.write_text("CREATE TABLE IF NOT EXISTS one (a Int64) ENGINE = MergeTree ORDER BY a;\n")
    with pytest.raises(ConfigError, match="0001_one was applied and has been changed since"):
        migrate(settings, tmp_path)


def test_an_unreachable_clickhouse_is_an_outage(store_settings: Settings, unused_tcp_port: int) -> None:
    away = store_settings.model_copy(update={"clickhouse_url": f"http://127.0.0.1:{unused_tcp_port}"})
    with pytest.raises(DependencyUnavailable, match="ClickHouse does not answer"):
        migrate(away)
