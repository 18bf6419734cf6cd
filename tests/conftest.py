"""What tests share: the guard that keeps unit tests off the network, and a real Kafka, store and stack.

Kafka, ClickHouse's engine and the services are started once for all tests that ask for them, on free ports
of 127.0.0.1 and in temporary directories; tests keep apart by names of their own (brands, ids, groups).
"""

import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from deploy.local.stack import LocalStack, Service, StackOptions
from shared.settings import Settings

# How fast this machine is says nothing about the code.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

IO_FIXTURES = frozenset({"kafka_settings", "store_settings", "stack"})

BRANDS = """
[[brands]]
name = "Acme Zorg"
aliases = ["Acme"]
handles = ["@acmezorg"]
[brands.terms]
words = ["acmezorg"]
phrases = ["werken bij acme zorg"]
hashtags = ["#werkenbijacme"]
exclude = ["acme camping"]

[[brands]]
name = "Beta Bouw"
handles = ["@betabouw"]
[brands.terms]
words = ["betabouw"]
hashtags = ["#bouwenbijbeta"]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that takes a real Kafka or store without saying so with the io marker."""
    for item in items:
        taken = IO_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if taken and item.get_closest_marker("io") is None:
            raise pytest.UsageError(f"{item.nodeid} uses {', '.join(sorted(taken))}: mark it @pytest.mark.io")


@pytest.fixture(autouse=True)
def _no_io_without_the_marker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("io") or request.node.get_closest_marker("browser"):
        return

    def refuse(what: str) -> Any:
        def refused(*_args: Any, **_options: Any) -> NoReturn:
            # pytest's own exception is no Exception: code under test cannot swallow it.
            pytest.fail(f"{request.node.nodeid} {what}; a test that has to is marked @pytest.mark.io")

        return refused

    for method in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, method, refuse(f"calls {method} on a socket"))
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse("starts a process"))


def report(message: str, **fields: Any) -> None:
    """Show what the launcher says in the output of a test that fails."""
    print(message, fields or "")


@dataclass
class RunningStack:
    """A whole stack that tests may stop and start again on the same data directory."""

    options: StackOptions
    _stack: LocalStack

    @property
    def api_url(self) -> str:
        """Where the API is now; another port after a restart."""
        return self._stack.addresses.api_url

    @property
    def ingest_url(self) -> str:
        """Where ingest is now; another port after a restart."""
        return self._stack.addresses.ingest_url

    @property
    def settings(self) -> Settings:
        """The settings that the services run with."""
        return self._stack.settings

    @property
    def pids(self) -> dict[str, int]:
        """The process ids, by name."""
        return self._stack.pids

    async def start(self) -> None:
        """Start everything; fail the test, with the log of what would not start, when that fails."""
        await self._stack.start()

    async def stop(self) -> None:
        """Stop everything, in order."""
        await self._stack.stop()

    async def restart(self) -> None:
        """Stop everything and start it again."""
        await self.stop()
        await self.start()


def new_stack(directory: Path, *services: Service) -> RunningStack:
    """Return a stack of these services on free ports, not started; `stop` it in any case."""
    config = directory / "klankbord.toml"
    config.write_text(BRANDS, encoding="utf-8")
    options = StackOptions(
        data_dir=directory / "data", config_file=config, usual_ports=False, services=services
    )
    return RunningStack(options, LocalStack(options, report))


@pytest.fixture(scope="session")
async def store_settings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """Return settings for a running Kafka that has the topics and a running engine that is migrated."""
    running = new_stack(tmp_path_factory.mktemp("infrastructure"))
    try:
        await running.start()
        yield running.settings
    finally:
        await running.stop()


@pytest.fixture(scope="session")
def kafka_settings(store_settings: Settings) -> Settings:
    """Return settings for a running Kafka that has the topics."""
    return store_settings


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    """Return everything running, as `klankbord up` runs it, for the brands Acme Zorg and Beta Bouw."""
    running = new_stack(tmp_path_factory.mktemp("stack"), *Service)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()
