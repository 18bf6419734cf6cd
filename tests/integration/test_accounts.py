"""The accounts of deploy/clickhouse/users.xml on the real engine: each can do its work, and no more.

The engine behind the local ClickHouse has one account; it is given the grants and the profile of each in
turn, on the same data.
"""

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from services.api.buckets import Interval
from services.api.queries import Store
from services.api.selection import Filters, Metric
from services.metrics.app import StoreCheck
from services.metrics.migrate import load, migrate
from services.metrics.store import ClickHouseStore
from services.metrics.writer import write
from shared.brands import BrandBook
from shared.clickhouse import connect
from shared.settings import Settings
from tests.integration.clickhouse_process import ROOT, configured_clickhouse
from tests.integration.test_cluster import STATEMENTS, without_keeper
from tests.unit.metrics.events import PUBLISHED, event, message

pytestmark = pytest.mark.io
CONFIG = """<clickhouse>
    <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
    <access_control_improvements>
        <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
        <table_engines_require_grant>true</table_engines_require_grant>
    </access_control_improvements>
    <backups><allowed_path>{backups}</allowed_path></backups>
    <remote_servers><kb><shard><replica>
        <host>localhost</host><port>9000</port>
    </replica></shard></kb></remote_servers>
</clickhouse>
"""


@asynccontextmanager
async def signed_in_as(account: str, directory: Path, grants: Sequence[str] = ()) -> AsyncIterator[Settings]:
    """Run the engine as `account` of users.xml, with `grants` in place of its own where they are given."""
    users = ElementTree.parse(ROOT / "deploy/clickhouse/users.xml")
    everyone, profiles = users.find("users"), users.find("profiles")
    assert everyone is not None and profiles is not None
    # A server's own users.xml, which this file adds to, has it.
    ElementTree.SubElement(profiles, "default")
    one = copy.deepcopy(everyone.find(account))
    assert one is not None
    one.tag = "default"
    if grants:
        granted = one.find("grants")
        assert granted is not None
        granted[:] = []
        for grant in grants:
            ElementTree.SubElement(granted, "query").text = grant
    one.remove(one.find("password"))  # type: ignore[arg-type]
    ElementTree.SubElement(one, "password")
    everyone[:] = [one]
    users.write(directory / "users.xml")
    config = CONFIG.format(users=directory / "users.xml", backups=f"{directory}/backups/")
    async with configured_clickhouse(directory, config) as settings:
        yield settings


def refused(client: Client, statement: str) -> bool:
    """Whether it is refused for want of a grant (497), or because the account only reads (164)."""
    with pytest.raises(DatabaseError) as error:
        client.command(statement)
    return error.value.code in {497, 164}


async def test_each_account_can_do_its_work_and_no_more(tmp_path: Path) -> None:
    async with signed_in_as("klankbord_migrate", tmp_path) as settings:
        assert len(migrate(settings)) == len(load())
        with connect(settings) as client:
            assert refused(client, "CREATE TABLE t (a Int8) ENGINE = URL('http://127.0.0.1:1/', CSV)")
            assert refused(client, "CREATE USER somebody")
            assert refused(client, "CREATE DATABASE another")

    async with signed_in_as("klankbord_metrics", tmp_path) as settings:
        assert StoreCheck(settings).waiting_for() == {}
        store = ClickHouseStore.open(settings)
        store.recount(write([event(message("a")), event(message("b"), 1)], store).hours)
        store.recount(write([event(message("a", 1, "Beta Bouw"), 2)], store).hours)
        store.close()
        with connect(settings) as client:
            assert refused(client, "ALTER TABLE mentions DELETE WHERE true")
            assert refused(client, "DROP TABLE mentions")
            assert refused(client, "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")

    async with signed_in_as("klankbord_api", tmp_path) as settings:
        await _reads(settings)
        with connect(settings) as client:
            assert refused(client, "INSERT INTO mention_positions (version) VALUES (1)")
            assert refused(client, "ALTER TABLE mentions DELETE WHERE true")

    async with signed_in_as("klankbord_grafana", tmp_path) as settings:
        with connect(settings) as client:
            assert client.query("SELECT sum(mentions) FROM mentions_hourly FINAL").result_rows == [(2,)]
            assert refused(client, "INSERT INTO mention_positions (version) VALUES (1)")


async def test_on_a_cluster_too_who_migrates_can_do_that_and_no_more(tmp_path: Path) -> None:
    overlay = yaml.safe_load_all((ROOT / "deploy/k8s/overlays/operators/clickhouse.yaml").read_text())
    (store,) = [one for one in overlay if one["kind"] == "ClickHouseInstallation"]
    grants = store["spec"]["configuration"]["users"]["klankbord_migrate/grants/query"]
    # The engine has no Keeper: replicated tables are tried as those that they replicate.
    tried = [grant.replace("ON Replicated", "ON ") for grant in grants]
    async with signed_in_as("klankbord_migrate", tmp_path, tried) as settings:
        with connect(settings, database="") as client:
            client.command("CREATE DATABASE klankbord")
        with connect(settings) as client:
            for statement in STATEMENTS:
                client.command(without_keeper(statement))
            assert refused(client, "CREATE USER somebody")
            assert refused(client, "CREATE DATABASE another")
            assert refused(client, "CREATE TABLE t (a Int8) ENGINE = URL('http://127.0.0.1:1/', CSV)")
            assert refused(client, "SELECT * FROM remote('127.0.0.1:1', system.one)")


async def _reads(settings: Settings) -> None:
    store = Store(settings, BrandBook())
    assert await store.ready() == {}
    assert {brand.name: brand.mentions for brand in await store.brands()} == {"Acme Zorg": 1, "Beta Bouw": 1}
    period = Filters(start=PUBLISHED, end=PUBLISHED + timedelta(hours=1))
    (series,) = await store.timeseries(Metric.FAILS, Interval.HOUR, "UTC", period)
    assert [point.value for point in series.points] == [2]
    page = await store.mentions(period, 10)
    assert {mention.brand for mention in page.items} == {"Acme Zorg", "Beta Bouw"}
    assert await store.mention(page.items[0].id) == page.items[0]
    store.close()


async def test_what_is_backed_up_can_be_restored(tmp_path: Path) -> None:
    async with signed_in_as("klankbord_migrate", tmp_path) as settings:
        migrate(settings)
        store = ClickHouseStore.open(settings)
        store.recount(write([event(message("a"))], store).hours)
        store.close()
        with connect(settings) as client:
            client.command("BACKUP DATABASE klankbord TO File('monday.tar.gz')")
            tables = client.query("SHOW TABLES").result_columns[0]
            for table in tables:
                client.command("DROP TABLE {table:Identifier}", parameters={"table": table})
            client.command("RESTORE DATABASE klankbord FROM File('monday.tar.gz')")
            assert client.query("SHOW TABLES").result_columns[0] == tables
            assert client.query("SELECT brand, mentions FROM mentions_hourly").result_rows == [
                ("Acme Zorg", 1)
            ]
        assert migrate(settings) == [f"the tables are up to date ({len(load())} migrations)"]
