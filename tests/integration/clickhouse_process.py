"""The local ClickHouse with a configuration file of the test's: clusters, accounts."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import chdb

from deploy.local import clickhouse
from deploy.local.kafka import accepts_connections
from deploy.local.ports import any_free
from deploy.local.processes import ChildProcess, Command
from shared.settings import Settings
from tests.conftest import report

ROOT = Path(__file__).parents[2]


class ConfiguredEngine(clickhouse.Engine):
    """The engine, opened with the configuration file that CLICKHOUSE_CONFIG_FILE names."""

    def _connect(self) -> Any:
        return chdb.connect(f"{self._path}?config-file={os.environ['CLICKHOUSE_CONFIG_FILE']}")


@asynccontextmanager
async def configured_clickhouse(directory: Path, config: str) -> AsyncIterator[Settings]:
    """Run the engine on `directory` with the configuration `config` (XML); yield settings that lead to it."""
    file = directory / "config.xml"
    file.write_text(config)
    port = any_free("127.0.0.1")
    where = ("--path", str(directory / "data"), "--port", str(port))
    argv = (sys.executable, "-m", "tests.integration.clickhouse_process", *where)
    environment = {**os.environ, "CLICKHOUSE_CONFIG_FILE": str(file)}
    command = Command("clickhouse", argv, environment, ROOT, directory / "clickhouse.log")
    child = ChildProcess(command, report, lambda: accepts_connections(port))
    try:
        await child.start()
        await child.wait_until_ready(30)
        yield Settings(clickhouse_url=f"http://127.0.0.1:{port}")
    finally:
        await child.stop(10)


if __name__ == "__main__":
    clickhouse.Engine = ConfiguredEngine  # type: ignore[misc]
    clickhouse.main()
