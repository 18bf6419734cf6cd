"""The tables of a cluster, on the real engine.

The engine runs without Keeper, so the statements are tried less what needs one: ON CLUSTER and replication.
Everything else is real: Distributed tables over local ones, and the sink's and the API's own SQL on them.
"""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from clickhouse_connect.driver.client import Client

from services.api.buckets import Interval
from services.api.queries import Store
from services.api.selection import Filters, Metric
from services.metrics.cluster import for_cluster, on_every_server
from services.metrics.migrate import _APPLIED_TABLE, load
from services.metrics.store import ClickHouseStore
from services.metrics.writer import write
from shared.brands import BrandBook
from shared.clickhouse import connect
from shared.settings import Settings
from tests.integration.clickhouse_process import configured_clickhouse
from tests.unit.metrics.events import PUBLISHED, event, message

pytestmark = pytest.mark.io
CONFIG = """<clickhouse>
    <tcp_port>9000</tcp_port>
    <remote_servers><kb><shard><replica>
        <host>localhost</host><port>9000</port>
    </replica></shard></kb></remote_servers>
</clickhouse>
"""
ACME, BETA = "Acme Zorg", "Beta Bouw"
STATEMENTS = [
    line for migration in load() for one in migration.statements() for line in for_cluster(one, "kb")
]


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    async with configured_clickhouse(tmp_path_factory.mktemp("cluster"), CONFIG) as settings:
        yield settings


@pytest.fixture
def settings(server: Settings) -> Iterator[Settings]:
    """Name a database with the tables that the migrations make on a cluster."""
    settings = server.model_copy(update={"clickhouse_database": f"test_{uuid4().hex[:12]}"})
    with connect(settings, database="") as client:
        client.command(f"CREATE DATABASE {settings.clickhouse_database}")
    with connect(settings) as client:
        for statement in STATEMENTS:
            client.command(without_keeper(statement))
    yield settings
    with connect(settings, database="") as client:
        client.command(f"DROP DATABASE {settings.clickhouse_database}")


@pytest.fixture
def sink(settings: Settings) -> Iterator[ClickHouseStore]:
    store = ClickHouseStore.open(settings)
    yield store
    store.close()


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Store]:
    store = Store(settings, BrandBook())
    yield store
    store.close()


def without_keeper(statement: str) -> str:
    statement = statement.replace(" ON CLUSTER `kb`", "")
    statement = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?", r"\1(", statement)
    return statement.replace(" replicated_deduplication_window", " non_replicated_deduplication_window")


def count(client: Client, table: str) -> int:
    return int(client.query("SELECT count() FROM {t:Identifier}", parameters={"t": table}).result_rows[0][0])


@pytest.mark.parametrize("statement", [*STATEMENTS, on_every_server(_APPLIED_TABLE, "kb")])
def test_the_engine_reads_each_statement_as_it_is_meant(server: Settings, statement: str) -> None:
    with connect(server, database="") as client:
        formatted = client.query("SELECT formatQuery({q:String})", parameters={"q": statement}).result_rows[
            0
        ][0]
    assert "ON CLUSTER kb" in formatted
    if formatted.startswith("CREATE TABLE"):
        assert (
            "ENGINE = Replicated" in formatted or "ENGINE = Distributed(kb, currentDatabase()," in formatted
        )


def test_what_the_sink_writes_lies_in_the_local_tables(settings: Settings, sink: ClickHouseStore) -> None:
    sink.recount(write([event(message("a")), event(message("b"), offset=1)], sink).hours)
    with connect(settings) as client:
        for table in ("mentions", "mention_positions", "mentions_hourly"):
            assert count(client, f"{table}_local") == count(client, table) > 0, table


async def test_an_edit_that_moves_a_mention_to_another_brand_is_counted_once(
    sink: ClickHouseStore, api: Store
) -> None:
    hours = write([event(message("a", 1, ACME)), event(message("b", 1, ACME), 1)], sink).hours
    hours |= write([event(message("a", 2, BETA, hour=3), 2)], sink).hours
    sink.recount(hours)

    found = {brand.name: brand.mentions for brand in await api.brands()}
    assert found == {ACME: 1, BETA: 1}
    period = Filters(start=PUBLISHED, end=PUBLISHED + timedelta(hours=4))
    for brand, hour in ((ACME, 0), (BETA, 3)):
        (rolled_up,) = await api.timeseries(Metric.FAILS, Interval.HOUR, "UTC", _of(period, brand))
        assert [point.value for point in rolled_up.points] == [int(at == hour) for at in range(4)]
    moved = event(message("a", 2, BETA, hour=3)).position
    mention = await api.mention(moved.id)
    assert mention is not None and (mention.brand, mention.published_at) == (
        BETA,
        PUBLISHED + timedelta(hours=3),
    )


async def test_a_replay_changes_nothing(settings: Settings, sink: ClickHouseStore, api: Store) -> None:
    batch = [event(message(name, hour=hour), hour) for hour, name in enumerate("abc")]
    for _ in range(3):
        sink.recount(write(batch, sink).hours)
    (brand,) = await api.brands()
    assert (brand.mentions, brand.fails) == (3, 3)
    with connect(settings) as client:
        assert client.query("SELECT sum(mentions) FROM mentions_hourly FINAL").result_rows == [(3,)]


def _of(period: Filters, brand: str) -> Filters:
    return Filters(start=period.start, end=period.end, brands=(brand,))
