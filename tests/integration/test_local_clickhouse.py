"""clickhouse-connect's own HTTP client against the engine behind ClickHouse's HTTP interface."""

import asyncio
import gzip
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import lz4.frame  # type: ignore[import-untyped]
import pytest
from backports import zstd
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from deploy.local.kafka import accepts_connections
from deploy.local.ports import any_free
from deploy.local.processes import ChildProcess, Command
from shared.clickhouse import connect
from shared.settings import Settings
from tests.conftest import report

pytestmark = pytest.mark.io

COLUMNS = ["id", "at", "source", "topics", "is_fail", "rating", "text"]
TABLE = """
CREATE TABLE {name:Identifier} (
    id UUID, at DateTime64(3, 'UTC'), source LowCardinality(String), topics Array(LowCardinality(String)),
    is_fail Bool, rating Nullable(Float32), text String, version UInt64 DEFAULT 1
) ENGINE = ReplacingMergeTree(version) ORDER BY id SETTINGS non_replicated_deduplication_window = 100
"""
AT = datetime(2026, 3, 29, 1, 30, 0, 123_000, tzinfo=UTC)
TEXT = "Wát een 'proces' \\ \n\t; SELECT 1; 🙃"


def row(number: int) -> list[Any]:
    return [UUID(int=number), AT, "x", ["stilte", "é"], number % 2 == 0, None if number % 2 else 1.5, TEXT]


@dataclass
class Server:
    child: ChildProcess
    settings: Settings

    async def start(self) -> None:
        await self.child.start()
        await self.child.wait_until_ready(30)

    async def kill(self) -> None:
        assert self.child.pid
        os.kill(self.child.pid, 9)
        await self.child.finish(10)

    def client(self, database: str | None = None) -> Client:
        return connect(self.settings, database=database)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    directory = tmp_path_factory.mktemp("clickhouse")
    port = any_free("127.0.0.1")
    argv = (
        sys.executable,
        "-m",
        "deploy.local.clickhouse",
        "--path",
        str(directory / "data"),
        "--port",
        str(port),
    )
    command = Command("clickhouse", argv, os.environ, directory, directory / "clickhouse.log")
    child = ChildProcess(command, report, lambda: accepts_connections(port))
    settings = Settings(clickhouse_url=f"http://127.0.0.1:{port}", clickhouse_database="local_tests")
    running = Server(child, settings)
    try:
        await running.start()
        running.client("").command("CREATE DATABASE local_tests")
        yield running
    finally:
        await child.stop(10)


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def table(client: Client) -> Iterator[str]:
    name = f"t_{uuid4().hex}"
    client.command(TABLE, parameters={"name": name})
    yield name
    client.command("DROP TABLE {name:Identifier} SYNC", parameters={"name": name})


def count(client: Client, table: str) -> int:
    return int(client.query("SELECT count() FROM {t:Identifier}", parameters={"t": table}).result_rows[0][0])


def test_every_type_comes_back_as_it_went_in(client: Client, table: str) -> None:
    rows = [row(number) for number in range(1_000)]
    assert client.insert(table, rows, column_names=COLUMNS).written_rows == 1_000
    result = client.query(
        f"SELECT {', '.join(COLUMNS)} FROM {{t:Identifier}} FINAL ORDER BY id",
        parameters={"t": table},
        query_tz="UTC",
    )
    back = [list(values) for values in result.result_rows]
    assert [values[1].replace(tzinfo=UTC) for values in back] == [AT] * 1_000
    assert [values[:1] + values[2:] for values in back] == [values[:1] + values[2:] for values in rows]
    assert int(result.summary["read_rows"]) == 1_000
    assert result.summary["query_id"] != ""


def test_parameters_are_bound_by_the_server(client: Client, table: str) -> None:
    client.insert(table, [row(1), row(2)], column_names=COLUMNS)
    found = client.query(
        "SELECT id FROM {t:Identifier} WHERE text = {text:String} AND at >= {at:DateTime64(3, 'UTC')} "
        "AND has({ids:Array(UUID)}, id) AND hasAny(topics, {topics:Array(String)})",
        parameters={"t": table, "text": TEXT, "at": AT, "ids": [UUID(int=2)], "topics": ["é", "it's"]},
    )
    assert found.result_rows == [(UUID(int=2),)]


def test_parameters_too_long_for_a_url_come_in_a_form(client: Client) -> None:
    values = [f"é'{number}" for number in range(10_000)]
    result = client.query("SELECT length({v:Array(String)}), {v:Array(String)}[-1]", parameters={"v": values})
    assert result.result_rows == [(10_000, "é'9999")]


def test_a_table_may_come_with_the_query(client: Client) -> None:
    ids = ExternalData(
        data=b"1,a\n2,b\n", fmt="CSV", structure=["id UInt32", "v String"], file_name="ids.csv"
    )
    assert client.query("SELECT sum(id), groupArray(v) FROM ids", external_data=ids).result_rows == [
        (3, ["a", "b"])
    ]
    with pytest.raises(DatabaseError, match="Code: 60"):
        client.query("SELECT * FROM ids")


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
def test_raw_inserts_may_be_compressed(client: Client, table: str, compression: str | None) -> None:
    compress = {"lz4": lz4.frame.compress, "zstd": zstd.compress, "gzip": gzip.compress}
    lines = b"".join(
        json.dumps({"id": str(UUID(int=number)), "text": TEXT}).encode() + b"\n" for number in range(20_000)
    )
    body = compress[compression](lines) if compression else lines
    summary = client.raw_insert(table, ["id", "text"], body, fmt="JSONEachRow", compression=compression)
    assert summary.written_rows == 20_000
    found = client.query("SELECT uniqExact(id), any(text) FROM {t:Identifier}", parameters={"t": table})
    assert found.result_rows == [(20_000, TEXT)]


def test_a_body_that_is_broken_off_is_refused_whole(client: Client, table: str) -> None:
    lines = b"".join(b'{"text": "%d"}\n' % number for number in range(200_000))
    broken = zstd.compress(lines)[:-100]
    with pytest.raises(DatabaseError, match="Code: 36.*The body cannot be read"):
        client.raw_insert(table, ["text"], broken, fmt="JSONEachRow", compression="zstd")
    assert count(client, table) == 0


def test_an_insert_that_fails_after_its_data_were_read_is_not_acknowledged(
    client: Client, table: str
) -> None:
    client.command(
        "ALTER TABLE {name:Identifier} ADD CONSTRAINT short CHECK length(text) < 10", {"name": table}
    )
    with pytest.raises(DatabaseError, match="(?i)constraint"):
        client.insert(table, [row(1)], column_names=COLUMNS)
    assert count(client, table) == 0
    client.insert(table, [[*row(2)[:-1], "short"]], column_names=COLUMNS)
    assert count(client, table) == 1


def test_a_deduplication_token_counts_once(client: Client, table: str) -> None:
    for _ in range(2):
        client.insert(
            table,
            [row(1), row(2)],
            column_names=COLUMNS,
            settings={"insert_deduplication_token": "raw-0-0-2"},
        )
    assert count(client, table) == 2
    client.insert(table, [row(1)], column_names=COLUMNS, settings={"insert_deduplication_token": "raw-0-2-3"})
    assert count(client, table) == 3


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT * FROM nowhere", 60),
        ("SELEC 1", 62),
        ("SELECT {x:String}", 456),
        ("SELECT throwIf(number = 3) FROM numbers(10)", 395),
        ("SELECT * FROM nowhere.at_all", 81),
    ],
)
def test_an_error_carries_clickhouses_code(client: Client, statement: str, code: int) -> None:
    with pytest.raises(DatabaseError, match=f"Code: {code}. DB::Exception") as raised:
        client.query(statement)
    assert raised.value.code == code


def test_a_database_that_does_not_exist_is_error_81(server: Server) -> None:
    with pytest.raises(DatabaseError, match="Code: 81"):
        server.client("never_made")
    assert server.client("").command("SELECT 1") == 1


def test_settings_hold_for_one_request_only(client: Client) -> None:
    query = "SELECT getSetting('max_threads')"
    before = client.command(query)
    assert client.command(query, settings={"max_threads": 3}) == 3
    assert client.command(query) == before
    with pytest.raises(DatabaseError, match="Code: 115"):
        client.query("SELECT 1", settings={"no_such_setting": 1})


def test_commands_with_and_without_a_result(client: Client, table: str) -> None:
    assert client.command("SELECT count() FROM {t:Identifier}", parameters={"t": table}) == 0
    assert client.command(f"EXISTS TABLE {table}") == 1
    assert client.command("SELECT 'a', 2") == ["a", "2"]
    assert client.query("SELECT 1 AS x WHERE 0").result_rows == []
    assert client.query(f"SELECT * FROM {table} LIMIT 0").column_names[:2] == ("id", "at")
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    client.command(
        f"INSERT INTO {table} (id, text) VALUES (generateUUIDv4(), 'een'), (generateUUIDv4(), 'twee')"
    )
    client.command(f"INSERT INTO {table} (id, text) SELECT generateUUIDv4(), text FROM {table}")
    assert count(client, table) == 4
    client.command(f"ALTER TABLE {table} DELETE WHERE text = 'een' SETTINGS mutations_sync = 2")
    assert count(client, table) == 2


def test_large_results_come_in_blocks(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(1000000)") as blocks:
        assert sum(sum(number for (number,) in block) for block in blocks) == 499_999_500_000


def test_many_threads_at_once(server: Server, table: str) -> None:
    client = server.client()

    def work(number: int) -> int:
        client.insert(table, [row(number)], column_names=COLUMNS)
        found = client.query(
            "SELECT toUInt32({n:UInt32}), count() FROM {t:Identifier} WHERE id = {id:UUID}",
            parameters={"n": number, "t": table, "id": UUID(int=number)},
        )
        assert found.result_rows == [(number, 1)]
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(64))) == list(range(64))
    assert count(client, table) == 64


async def test_what_was_acknowledged_survives_kill_9_and_a_stop(server: Server) -> None:
    client = server.client()
    client.command(TABLE, parameters={"name": "durable"})
    token = {"insert_deduplication_token": "raw-1-0-500"}
    rows = [row(number) for number in range(500)]
    client.insert("durable", rows, column_names=COLUMNS, settings=token)
    await server.kill()
    await server.start()
    client = server.client()
    assert count(client, "durable") == 500
    client.insert("durable", rows, column_names=COLUMNS, settings=token)
    assert count(client, "durable") == 500
    await asyncio.wait_for(server.child.stop(10), 5)
    await server.start()
    assert count(server.client(), "durable") == 500


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_what_a_web_page_sends_is_refused(server: Server, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=server.settings.clickhouse_url) as http:
        answer = await http.post("/", content="SELECT 1", headers=headers)
    assert answer.status_code == 400
    assert answer.headers["X-ClickHouse-Exception-Code"] == "36"
    assert "web pages" in answer.text


async def test_curl_works_too_and_get_only_reads(server: Server) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=server.settings.clickhouse_url) as http:
        assert (await http.get("/ping")).text == "Ok.\n"
        answer = await http.get("/", params={"query": "SELECT 1, 'a'"})
        assert (answer.status_code, answer.text) == (200, "1\ta\n")
        assert answer.headers["X-ClickHouse-Format"] == "TabSeparated"
        assert answer.headers["X-ClickHouse-Timezone"] == "UTC"
        refused = await http.get("/", params={"query": "CREATE DATABASE by_get"})
        assert refused.headers["X-ClickHouse-Exception-Code"] == "164"
        joined = await http.post("/", params={"query": "SELECT"}, content="2")
        assert joined.text == "2\n"


async def test_a_directory_has_one_engine(server: Server, tmp_path: Path) -> None:
    argv = (*server.child.command.argv[:-1], str(any_free("127.0.0.1")))
    second = ChildProcess(Command("second", argv, os.environ, tmp_path, tmp_path / "second.log"), report)
    await second.start()
    assert await second.finish(30) != 0
    assert server.client().command("SELECT 1") == 1
