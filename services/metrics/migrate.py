"""Brings ClickHouse's tables up to date: numbered SQL files, each applied once, frozen from then on.

A file is `NNNN_name.sql`; its statements end with a semicolon at the end of a line. Each can be done twice
(IF NOT EXISTS), because ClickHouse has no transaction around them: after a crash, or when two run at the same
time, a file may be applied again. On a cluster the same files are applied as services/metrics/cluster.py
writes them.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from services.metrics.cluster import for_cluster, on_cluster, on_every_server
from shared.clickhouse import connect, outages
from shared.errors import ConfigError
from shared.settings import Settings

DIRECTORY = Path(__file__).parent / "migrations"
_NAME = re.compile(r"(\d{4})_(\w+)\.sql", re.ASCII)
_COMMENT_LINE = re.compile(r"^\s*--.*$", re.MULTILINE)
_UNKNOWN_TABLE, _UNKNOWN_DATABASE = 60, 81
CLUSTER_TIMEOUT_SECONDS = 300
"""A statement on a cluster ends when every server has done it."""

_APPLIED_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt16,
    name String,
    sha256 String,
    applied_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY version
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The digest by which a later change is found out."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        """Number and name, as in the file's name."""
        return f"{self.version:04}_{self.name}"

    def statements(self) -> list[str]:
        """Return its statements, without the lines that are comments."""
        parts = re.split(r";\s*(?:\n|$)", _COMMENT_LINE.sub("", self.sql))
        return [statement for part in parts if (statement := part.strip())]


def load(directory: Path = DIRECTORY) -> list[Migration]:
    """Return the migrations in `directory`, in order.

    Raises ConfigError when a file's name is wrong, or the numbers are not 1, 2, 3, ...
    """
    migrations = []
    for path in sorted(directory.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ConfigError(f"{path} is not named like 0001_what_it_does.sql")
        migrations.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    numbers = [migration.version for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ConfigError(f"the migrations in {directory} are not numbered 1, 2, 3, ...: {numbers}")
    return migrations


def to_apply(migrations: Sequence[Migration], applied: dict[int, str]) -> list[Migration]:
    """Return those not yet in `applied` ({version: sha256}).

    Raises ConfigError when one that was applied has been changed since.
    """
    for migration in migrations:
        if applied.get(migration.version, migration.sha256) != migration.sha256:
            raise ConfigError(
                f"the migration {migration.label} was applied and has been changed since; "
                "undo the change and put it in a new migration"
            )
    return [migration for migration in migrations if migration.version not in applied]


def migrate(
    settings: Settings, directory: Path = DIRECTORY, *, cluster: str | None = None, again: bool = False
) -> list[str]:
    """Create the database where it is absent and apply what is new; return lines to show.

    With `cluster`, on every server of that cluster; `again` applies what was applied before, too, which gives
    servers that joined since their tables.

    Raises DependencyUnavailable when ClickHouse does not answer, ConfigError as `load`, `to_apply` and
    `for_cluster` do, and when the tables were made the other way.
    """
    migrations = load(directory)
    # Rendered before anything is done: a migration that cannot be is found out first.
    statements = {migration.label: _statements(migration, cluster) for migration in migrations}
    with outages():
        _create_database(settings, cluster)
        with connect(settings, timeout=CLUSTER_TIMEOUT_SECONDS) as client:
            refuse_other_shape(_engine_of_applied(client), cluster)
            client.command(on_every_server(_APPLIED_TABLE, cluster) if cluster else _APPLIED_TABLE)
            new = to_apply(migrations, {} if again else _applied(client))
            for migration in new:
                _apply(client, migration, statements[migration.label])
    return [f"applied {migration.label}" for migration in new] or [
        f"the tables are up to date ({len(migrations)} migrations)"
    ]


def pending(client: Client) -> list[str]:
    """Return the names of migrations that are still to be applied to the client's database.

    Raises DependencyUnavailable when ClickHouse does not answer, ConfigError as `load` and `to_apply` do.
    """
    with outages():
        try:
            applied = _applied(client)
        except DatabaseError as error:
            if error.code not in {_UNKNOWN_TABLE, _UNKNOWN_DATABASE}:
                raise
            applied = {}
    return [migration.label for migration in to_apply(load(), applied)]


def refuse_other_shape(engine: str | None, cluster: str | None) -> None:
    """Raise ConfigError when the tables, as `engine` of schema_migrations tells, were made the other way.

    CREATE TABLE IF NOT EXISTS would leave them as they are, and the figures would be wrong.
    """
    if engine is not None and engine.startswith("Replicated") != (cluster is not None):
        made, wanted = ("a cluster", "with") if cluster is None else ("one server", "without")
        raise ConfigError(
            f"the tables of this database were made for {made}: run klankbord migrate {wanted} --cluster, "
            "or name another database in KLANKBORD_CLICKHOUSE_DATABASE and replay Kafka into it"
        )


def _statements(migration: Migration, cluster: str | None) -> list[str]:
    if cluster is None:
        return migration.statements()
    return [one for statement in migration.statements() for one in for_cluster(statement, cluster)]


def _create_database(settings: Settings, cluster: str | None) -> None:
    clause = f" {on_cluster(cluster)}" if cluster else ""
    with connect(settings, database="", timeout=CLUSTER_TIMEOUT_SECONDS) as client:
        client.command(
            f"CREATE DATABASE IF NOT EXISTS {{name:Identifier}}{clause}",
            parameters={"name": settings.clickhouse_database},
        )


def _engine_of_applied(client: Client) -> str | None:
    rows = client.query(
        "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'schema_migrations'"
    ).result_rows
    return rows[0][0] if rows else None


def _applied(client: Client) -> dict[int, str]:
    rows = client.query("SELECT version, sha256 FROM schema_migrations FINAL").result_rows
    return {row[0]: row[1] for row in rows}


def _apply(client: Client, migration: Migration, statements: Sequence[str]) -> None:
    for statement in statements:
        client.command(statement)
    client.insert(
        "schema_migrations",
        [(migration.version, migration.name, migration.sha256)],
        column_names=["version", "name", "sha256"],
    )
