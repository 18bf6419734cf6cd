"""A burst of complaints on the whole stack, with a real Prometheus, Alertmanager and webhook."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.monitoring import HOW_TO_INSTALL, installed
from deploy.local.stack import LocalStack, StackOptions
from tests.conftest import BRANDS, report
from tests.integration.waiting import until
from tests.prepare import needed
from tests.receiver import receiver

pytestmark = pytest.mark.io
COMPLAINT = "Al drie weken niks gehoord op mijn sollicitatie, slechte communicatie"
TOLD_WITHIN = 120
PRAISE = "Fijn gesprek gehad, aardige mensen"


def mention(brand: str, source: str, at: datetime, number: int, text: str) -> dict[str, Any]:
    return {
        "source": source,
        "external_id": f"{brand} {source} {at.isoformat()} {number}",
        "brand": brand,
        "author": f"@p{at:%m%d%H}-{number}",
        "text": text,
        "url": f"https://example.org/{number}",
        "published_at": at.isoformat(),
    }


def history(brand: str, now: datetime) -> Iterator[dict[str, Any]]:
    """Eight weeks in which every day six people say something, of whom one complains."""
    for day in range(1, 57):
        for number in range(6):
            at = now - timedelta(days=day) + timedelta(hours=number)
            yield mention(brand, "linkedin", at, number, PRAISE if number else COMPLAINT)


def dead_source(brand: str, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield what a source said every hour for eight weeks; it said nothing in the last 76 hours.

    So nothing in all of the day before yesterday, at whatever time this runs and in Amsterdam's days.
    """
    for hour in range(76, 8 * 168):
        yield mention(brand, "indeed", now - timedelta(hours=hour), 0, PRAISE)


@asynccontextmanager
async def monitored(directory: Path, webhook: str) -> AsyncIterator[LocalStack]:
    needed("promtool")
    needed("amtool")
    tools = installed()
    assert tools is not None, HOW_TO_INSTALL
    config = directory / "klankbord.toml"
    config.write_text(BRANDS, encoding="utf-8")
    options = StackOptions(
        data_dir=directory / "data",
        config_file=config,
        usual_ports=False,
        enrich_workers=2,
        monitoring=tools,
        alert_webhook=webhook,
    )
    stack = LocalStack(options, report)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


async def send(client: httpx.AsyncClient, stack: LocalStack, mentions: Iterator[dict[str, Any]]) -> None:
    body = "\n".join(map(json.dumps, mentions))
    answer = await client.post(
        f"{stack.addresses.ingest_url}/v1/mentions",
        content=body,
        headers={"content-type": "application/x-ndjson"},
    )
    assert answer.status_code == 202
    assert not answer.json()["rejected"]


async def test_a_burst_reaches_people_with_its_reason_and_a_dead_source_is_called_silent(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    async with (
        receiver("/hook") as (webhook, posts),
        monitored(tmp_path, f"{webhook}/hook") as stack,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        prometheus = stack.monitoring_urls["prometheus"]

        async def targets() -> dict[str, list[str]]:
            active = (await client.get(f"{prometheus}/api/v1/targets")).json()["data"]["activeTargets"]
            health: dict[str, list[str]] = {}
            for target in active:
                health.setdefault(target["labels"]["job"], []).append(target["health"])
            return health

        async def all_scraped() -> bool:
            return await targets() == {
                "klankbord-ingest": ["up"],
                "klankbord-enrich": ["up", "up"],
                "klankbord-metrics": ["up"],
                "klankbord-api": ["up"],
            }

        await until(all_scraped, pause, seconds=60)
        rules = (await client.get(f"{prometheus}/api/v1/rules")).json()["data"]["groups"]
        assert all(rule["health"] in {"ok", "unknown"} for group in rules for rule in group["rules"])

        await send(client, stack, history("Acme Zorg", now))
        await send(client, stack, history("Beta Bouw", now))
        await send(client, stack, dead_source("Beta Bouw", now))
        await send(client, stack, iter([mention("Beta Bouw", "linkedin", now, 1, COMPLAINT)]))
        begin = time.monotonic()
        burst = [
            mention("Acme Zorg", "linkedin", now - timedelta(seconds=n), n, COMPLAINT) for n in range(30)
        ]
        await send(client, stack, iter(burst))

        def alerts() -> list[dict[str, Any]]:
            return [alert for post in posts for alert in post["alerts"]]

        def named(name: str) -> list[dict[str, Any]]:
            return [alert for alert in alerts() if alert["labels"]["alertname"] == name]

        async def told(name: str) -> bool:
            return bool(named(name))

        # Within two minutes of the burst.
        await until(lambda: told("ComplaintSpike"), pause, seconds=TOLD_WITHIN)
        spike = named("ComplaintSpike")[0]
        print(f"told after {time.monotonic() - begin:.0f} s: {spike['annotations']['summary']}")
        await until(lambda: told("SourceSilent"), pause, seconds=TOLD_WITHIN)
        assert spike["labels"]["brand"] == "Acme Zorg"
        assert spike["annotations"]["stage"] == "silence"
        assert "response-time" in spike["annotations"]["topics"]
        assert "in 99 of 100 such windows" in spike["annotations"]["summary"]
        assert spike["annotations"]["description"].count("https://example.org/") == 3
        assert {alert["labels"]["source"] for alert in named("SourceSilent")} == {"indeed"}
        active = (await client.get(f"{stack.addresses.api_url}/v1/spikes?active=true&kind=spike")).json()
        assert [one["brand"] for one in active["spikes"]] == ["Acme Zorg"]

        page = (await client.get(stack.addresses.api_url)).text
        assert "people complained in" in page
        assert "Waiting for an answer" in page

        # The source that died has no #fail rate in its last days, rather than a better one than before.
        period = {"from": str((now - timedelta(days=7)).date()), "to": str((now - timedelta(days=1)).date())}
        question = period | {"metric": "fail_rate", "brand": "Beta Bouw", "source": "indeed"}
        answer = (await client.get(f"{stack.addresses.api_url}/v1/timeseries", params=question)).json()
        rates = [(point["value"], point["n"]) for point in answer["series"][0]["points"]]
        assert rates[0][0] == 0.0
        assert rates[-1] == (None, 0)

        # The quiet brand had its one complaint at the same time: nobody is told of it, by then or later.
        await asyncio.sleep(max(0.0, begin + TOLD_WITHIN - time.monotonic()))
        assert {alert["labels"].get("brand") for alert in alerts()} <= {"Acme Zorg", "", None}


async def pause() -> None:
    await asyncio.sleep(0.5)
