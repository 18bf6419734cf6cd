"""`klankbord health` against real probes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner, Result

from klankbord.cli import app
from shared.metrics_catalogue import Exporter
from shared.telemetry import Readiness, serve_probes

pytestmark = pytest.mark.io
SERVICES = ("ingest", "enrich", "metrics", "api")


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory: pytest.FixtureRequest) -> dict[str, int]:
    """Give each service a port at which nothing listens, and say that they listen on all addresses."""
    ports: dict[str, int] = {name: unused_tcp_port_factory() for name in SERVICES}  # type: ignore[operator]
    monkeypatch.setenv("KLANKBORD_HOST", "0.0.0.0")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for name, port in ports.items():
        monkeypatch.setenv(f"KLANKBORD_{name.upper()}_PORT", str(port))
    return ports


async def waits_for_nothing() -> Mapping[str, str]:
    return {}


@asynccontextmanager
async def running(port: int, ready: Readiness = waits_for_nothing) -> AsyncIterator[None]:
    async with serve_probes(Exporter.ENRICH, "127.0.0.1", port, ready):
        yield


async def waits_for_kafka() -> Mapping[str, str]:
    return {"kafka": "not joined yet"}


async def health(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["health", *arguments])


async def test_the_service_that_runs_here_is_well(ports: dict[str, int]) -> None:
    async with running(ports["enrich"]):
        result = await health()
    assert result.exit_code == 0
    assert "enrich: ok\n" in result.output
    assert f"api: does not answer on http://127.0.0.1:{ports['api']}/healthz: " in result.output


async def test_where_none_runs_nothing_is_well() -> None:
    assert (await health()).exit_code == 1


async def test_one_that_is_named_must_answer(ports: dict[str, int]) -> None:
    async with running(ports["enrich"]):
        assert (await health("enrich")).exit_code == 0
        assert (await health("api")).exit_code == 1


async def test_ready_says_what_it_waits_for(ports: dict[str, int]) -> None:
    async with running(ports["metrics"], waits_for_kafka):
        assert (await health("metrics")).exit_code == 0
        result = await health("metrics", "--ready")
    assert (result.exit_code, result.output) == (1, "metrics: waits for kafka: not joined yet\n")
