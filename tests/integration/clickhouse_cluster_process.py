"""The local ClickHouse with a configuration file, in which there is a cluster of this one server."""

import os
from typing import Any

import chdb

from deploy.local import clickhouse


class ClusterEngine(clickhouse.Engine):
    """The engine, opened with the configuration file that CLICKHOUSE_CONFIG_FILE names."""

    def _connect(self) -> Any:
        return chdb.connect(f"{self._path}?config-file={os.environ['CLICKHOUSE_CONFIG_FILE']}")


if __name__ == "__main__":
    clickhouse.Engine = ClusterEngine  # type: ignore[misc]
    clickhouse.main()
