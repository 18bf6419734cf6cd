"""Every panel's query, run as Grafana would: on a real Prometheus and on the engine, fed by the stack."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import clickhouse_connect.driver.exceptions
import httpx
import pytest

from deploy.grafana import DASHBOARDS
from deploy.local.monitoring import HOW_TO_INSTALL, installed
from deploy.local.sample import sample_lines
from deploy.local.stack import LocalStack, StackOptions
from deploy.local.up import SAMPLE_CONFIG
from shared.clickhouse import connect
from shared.clock import SystemClock
from tests.conftest import report
from tests.integration.waiting import until
from tests.prepare import needed

pytestmark = pytest.mark.io


def panels(name: str) -> list[tuple[str, dict[str, Any]]]:
    dashboard = json.loads((DASHBOARDS / name).read_text())
    found = [each for panel in dashboard["panels"] for each in (panel, *panel.get("panels", []))]
    return [(panel["title"], target) for panel in found for target in panel.get("targets", [])]


TARGETS = [
    pytest.param(target, id=f"{path.stem}: {title}")
    for path in sorted(DASHBOARDS.glob("*.json"))
    for title, target in panels(path.name)
]


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Return the stack as a fresh `make up` has it: the sample's brands and mentions, and a Prometheus."""
    needed("promtool")
    needed("amtool")
    tools = installed()
    assert tools is not None, HOW_TO_INSTALL
    options = StackOptions(
        data_dir=tmp_path_factory.mktemp("grafana"),
        config_file=SAMPLE_CONFIG,
        usual_ports=False,
        monitoring=tools,
    )
    running = LocalStack(options, report)
    try:
        await running.start()
        await _fed(running)
        yield running
    finally:
        await running.stop()


async def _fed(running: LocalStack) -> None:
    body = "\n".join(sample_lines(SystemClock().now()))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for _ in range(2):
            answer = await client.post(
                f"{running.addresses.ingest_url}/v1/mentions",
                content=body,
                headers={"content-type": "application/x-ndjson"},
            )
            assert answer.status_code == 202
            # A rate needs two scrapes that differ.
            await asyncio.sleep(6)

            await client.get(f"{running.addresses.api_url}/v1/brands")

        async def looked() -> bool:
            """Whether the metrics service has looked for spikes, and Prometheus has seen it."""
            answer = await client.get(
                f"{running.monitoring_urls['prometheus']}/api/v1/query",
                params={"query": "count(klankbord_source_silent) and count(klankbord_spikes_active)"},
            )
            return bool(answer.json()["data"]["result"])

        await until(looked, _pause, seconds=90)


async def _pause() -> None:
    await asyncio.sleep(0.5)


def expanded(sql: str, brands: list[str]) -> str:
    """Return SQL with the plugin's macros and Grafana's variables filled in, for the last 90 days."""
    now = int(time.time())
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)",
        rf"(\1 >= toDateTime({now - 90 * 86_400}) AND \1 <= toDateTime({now}))",
        sql,
    )
    quoted = ",".join("'" + brand.replace("'", "\\'") + "'" for brand in brands)
    return sql.replace("${brand:singlequote}", quoted)


@pytest.mark.parametrize("target", TARGETS)
async def test_a_panel_answers(target: dict[str, Any], stack: LocalStack) -> None:
    if target["datasource"]["uid"] == "prometheus":
        end = time.time()
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            answer = await client.get(
                f"{stack.monitoring_urls['prometheus']}/api/v1/query_range",
                params={"query": target["expr"], "start": end - 60, "end": end, "step": 5},
            )
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"]["result"], target["expr"]
        return
    client = connect(stack.settings)
    try:
        brands = [
            row[0] for row in client.query("SELECT DISTINCT brand FROM mentions_hourly FINAL").result_rows
        ]
        rows = client.query(expanded(target["rawSql"], brands)).result_rows
    except clickhouse_connect.driver.exceptions.DatabaseError as error:
        pytest.fail(f"{error}\n{target['rawSql']}")
    finally:
        client.close()
    assert rows
    assert "$" not in expanded(target["rawSql"], brands)
