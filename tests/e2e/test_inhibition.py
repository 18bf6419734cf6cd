"""Who is not told what, because something else says it already: asked of a real Alertmanager."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deploy.local.monitoring import Tools, alertmanager_argv, alertmanager_config
from tests.integration.waiting import answers
from tests.prepare import needed

pytestmark = pytest.mark.io
Labels = dict[str, str]


def spike(name: str, severity: str, brand: str = "Acme") -> Labels:
    return {"alertname": name, "severity": severity, "brand": brand}


def down(job: str) -> Labels:
    return {"alertname": "ServiceDown", "severity": "critical", "job": job, "instance": "a:1"}


def lag(service: str) -> Labels:
    return {"alertname": "ConsumerLagGrowing", "severity": "warning", "service": service, "topic": "t"}


def restarting(job: str) -> Labels:
    return {"alertname": "ServiceRestarting", "severity": "warning", "job": job, "instance": "a:1"}


SLOW = {"alertname": "EndToEndLatency", "severity": "warning"}


@pytest.fixture
async def alertmanager(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "alertmanager.yml").write_text(alertmanager_config(None))
    argv = alertmanager_argv(Tools("", needed("prometheus-alertmanager")), tmp_path, port)
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            async with asyncio.timeout(30):
                while not await answers(client, "/-/ready"):
                    await asyncio.sleep(0.1)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def hidden(client: httpx.AsyncClient, quiet: Labels, *louder: Labels) -> bool:
    """Return whether `quiet` is inhibited while `louder` are there too."""
    for labels in (*louder, quiet):
        posted = await client.post("/api/v2/alerts", json=[{"labels": labels}])
        assert posted.is_success, posted.text
    async with asyncio.timeout(20):
        while True:
            alerts = (await client.get("/api/v2/alerts")).json()
            found = {tuple(sorted(alert["labels"].items())): alert["status"] for alert in alerts}
            status = found.get(tuple(sorted(quiet.items())))
            if status is not None and len(found) == len(louder) + 1 and status["state"] != "unprocessed":
                return bool(status["inhibitedBy"])
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("quiet", "louder", "expected"),
    [
        (spike("ComplaintSpikeActive", "warning"), spike("ComplaintSpike", "warning"), True),
        (spike("ComplaintSpike", "warning"), spike("ComplaintSpike", "critical"), True),
        (spike("ComplaintSpike", "warning"), spike("ComplaintSpikeActive", "critical"), True),
        (spike("ComplaintSpike", "warning"), spike("ComplaintSpikeActive", "critical", "Beta"), False),
        (spike("ComplaintSpike", "critical"), spike("ComplaintSpikeActive", "critical"), False),
        (lag("enrich"), down("klankbord-enrich"), True),
        (lag("metrics"), down("klankbord-enrich"), False),
        (lag("metrics"), down("klankbord-api"), False),
        (SLOW, down("klankbord-metrics"), True),
        (SLOW, down("klankbord-api"), False),
        (SLOW, {"alertname": "SinkStalled", "severity": "critical"}, True),
        (restarting("klankbord-api"), down("klankbord-api"), True),
        (restarting("klankbord-api"), down("klankbord-ingest"), False),
    ],
)
async def test_what_is_said_already_is_not_said_again(
    alertmanager: httpx.AsyncClient, quiet: Labels, louder: Labels, expected: bool
) -> None:
    assert await hidden(alertmanager, quiet, louder) is expected
