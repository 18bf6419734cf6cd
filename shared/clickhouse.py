"""ClickHouse clients. Synchronous inserts, errors told apart: an outage is waited out, a refusal is not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, Error, OperationalError

from shared.errors import ConfigError, DependencyUnavailable
from shared.settings import Settings

# ClickHouse 26 inserts asynchronously unless told otherwise; an acknowledged insert must be durable.
CLIENT_SETTINGS = {
    "async_insert": 0,
    "wait_for_async_insert": 1,
    "date_time_output_format": "iso",
    # On a cluster: the rows that a subquery finds on all shards are what the query looks for on each.
    "distributed_product_mode": "global",
}

# What makes a cluster answer a writer like one server does (docs/decisions/0008-clickhouse-cluster.md). They
# change nothing on one server.
WRITER_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        # An insert is acknowledged by the shards, not by the disk of the server that passes it on, ...
        "distributed_foreground_insert": 1,
        # ... by most replicas of a shard, ...
        "insert_quorum": "auto",
        # ... and whoever reads next reads it, from whichever replica. That asks for one insert at a time.
        "insert_quorum_parallel": 0,
        "select_sequential_consistency": 1,
        # INSERT … SELECT adds up over all shards, where this would add up each by itself.
        "parallel_distributed_insert_select": 0,
    }
)


def connect(
    settings: Settings,
    *,
    database: str | None = None,
    timeout: float = 30,
    more_settings: Mapping[str, Any] = MappingProxyType({}),
) -> Client:
    """Return a client for `database` (the configured one when None).

    `more_settings` are ClickHouse's, on top of CLIENT_SETTINGS.

    Raises DependencyUnavailable while the server does not answer, ConfigError on a wrong address.
    """
    url = urlsplit(settings.clickhouse_url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ConfigError(
            f"KLANKBORD_CLICKHOUSE_URL is {settings.clickhouse_url!r}; write it like http://127.0.0.1:8123"
        )
    with outages():
        return clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or (8443 if url.scheme == "https" else 8123),
            interface=url.scheme,
            username=settings.clickhouse_user,
            password=settings.clickhouse_password.get_secret_value(),
            database=settings.clickhouse_database if database is None else database,
            settings={**CLIENT_SETTINGS, **more_settings},
            connect_timeout=5,
            send_receive_timeout=timeout,
            # One client serves many threads; sessions would make them wait for each other.
            autogenerate_session_id=False,
        )


@contextmanager
def outages() -> Iterator[None]:
    """Turn "does not answer" into DependencyUnavailable; let a refused statement through as it is."""
    try:
        yield
    except OperationalError as error:
        raise DependencyUnavailable("ClickHouse", first_line(error)) from error
    except DatabaseError as error:
        if is_outage(str(error)):
            raise DependencyUnavailable("ClickHouse", first_line(error)) from error
        raise


@contextmanager
def answers() -> Iterator[None]:
    """Turn whatever goes wrong into DependencyUnavailable, where no value of a mention can be the cause."""
    try:
        with outages():
            yield
    except Error as error:
        raise DependencyUnavailable("ClickHouse", first_line(error)) from error


def first_line(error: Exception) -> str:
    """Return what an error says, without the stack of the server."""
    return str(error).splitlines()[0][:500] if str(error) else type(error).__name__


# Codes by which ClickHouse says "not now" (src/Common/ErrorCodes.cpp): 159 TIMEOUT_EXCEEDED, 160 TOO_SLOW,
# 202 TOO_MANY_SIMULTANEOUS_QUERIES, 203 NO_FREE_CONNECTION, 209 SOCKET_TIMEOUT, 210 NETWORK_ERROR,
# 241 MEMORY_LIMIT_EXCEEDED, 242 TABLE_IS_READ_ONLY, 243 NOT_ENOUGH_SPACE, 252 TOO_MANY_PARTS,
# 425 SYSTEM_ERROR, 516 AUTHENTICATION_FAILED, 999 KEEPER_EXCEPTION.
_OUTAGE_CODES = (159, 160, 202, 203, 209, 210, 241, 242, 243, 252, 425, 516, 999)


def is_outage(message: str) -> bool:
    """Whether ClickHouse's error text means "try later" rather than "never"."""
    lowered = message.lower()
    return any(f"code {code}" in lowered or f"code: {code}." in lowered for code in _OUTAGE_CODES)
