"""Every setting, read once from the environment, frozen.

Each is an environment variable: `KLANKBORD_` and its name in capitals. A file named by
`KLANKBORD_SECRETS_DIR` per setting works too (Docker and Kubernetes secrets).
What brands there are and what they track stands in klankbord.toml (shared/brands.py), not here.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigError

Port = Annotated[int, Field(ge=0, le=65535)]
PREFIX = "KLANKBORD_"


class Settings(BaseSettings):
    """The settings of all services; each reads what it needs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    config_file: Path = Field(Path("klankbord.toml"), description="Brands, tracked terms and feeds.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="auto: pretty on a terminal, JSON otherwise."
    )

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, comma-separated.")
    kafka_replication_factor: int = Field(1, ge=1, description="Replicas of each topic that is created.")
    kafka_partitions: int = Field(
        8, ge=1, le=1024, description="Partitions of the mention topics; no more workers than this can share."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="Used with a SASL protocol."
    )
    kafka_sasl_username: str | None = Field(None, description="Used with a SASL protocol.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Used with a SASL protocol.")
    kafka_ssl_cafile: Path | None = Field(None, description="CA of the brokers; the system's when empty.")

    clickhouse_url: str = Field("http://127.0.0.1:8123", description="ClickHouse's HTTP interface.")
    clickhouse_database: str = Field("klankbord", pattern=r"^[A-Za-z_]\w*$", description="Made by migrate.")
    clickhouse_user: str = Field("default", description="metrics needs write access, api only read.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Of clickhouse_user.")

    host: str = Field("127.0.0.1", description="Address that each service listens on.")
    ingest_port: Port = Field(8081, description="Where ingest takes mentions, and serves its probes.")
    enrich_port: Port = Field(8082, description="Probes and metrics of enrich.")
    metrics_port: Port = Field(8083, description="Probes and metrics of the metrics service.")
    api_port: Port = Field(8080, description="The API and the page.")

    ingest_max_body_bytes: int = Field(
        10_485_760, ge=1_024, description="Largest JSON object or array; NDJSON is streamed instead."
    )
    ingest_max_lines: int = Field(100_000, ge=1, description="Most NDJSON lines in one request.")
    ingest_max_inflight_bytes: int = Field(
        67_108_864, ge=1_048_576, description="Bytes taken but not yet acknowledged by Kafka; above it: 503."
    )
    ingest_produce_timeout_seconds: float = Field(
        20.0, gt=0, description="How long a request waits for Kafka's acknowledgement before it gets 503."
    )
    feeds_enabled: bool = Field(True, description="Poll the feeds of klankbord.toml in this ingest process.")

    dead_letter_max_consecutive: int = Field(
        1_000, ge=1, description="So many bad messages in a row stop a consumer: a flood, not an accident."
    )
    dead_letter_max_ratio: float = Field(
        0.5, gt=0, le=1, description="A larger share of bad messages in the window stops a consumer."
    )
    dead_letter_window: int = Field(
        5_000, ge=1, le=1_000_000, description="Messages over which that share is taken."
    )
    stall_seconds: float = Field(
        120.0, gt=0, description="A consumer that stands still this long with work waiting ends its process."
    )

    sink_max_rows: int = Field(50_000, ge=1, le=1_000_000, description="Most rows in one insert.")
    sink_max_seconds: float = Field(0.5, gt=0, description="Longest time a row waits for its insert.")

    spike_check_seconds: float = Field(
        20.0, gt=0, le=3_600, description="How often the metrics service looks for spikes of #fails."
    )
    alertmanager_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="An Alertmanager that spikes are told to, with their reason; nobody when empty.",
    )

    tracing_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="An OTLP/HTTP collector, e.g. http://otel:4318; off when empty.",
    )
    tracing_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of requests that are traced when nobody upstream decided."
    )

    page_timezone: str = Field("Europe/Amsterdam", description="Default time zone of page and API.")


def load_settings() -> Settings:
    """Return the settings of this process.

    Raises ConfigError, which names the variable that is wrong and why.
    """
    try:
        return Settings(_secrets_dir=os.environ.get(f"{PREFIX}SECRETS_DIR"))
    except ValidationError as error:
        lines = "; ".join(
            f"{PREFIX}{str(e['loc'][0]).upper()} {e['msg'][0].lower()}{e['msg'][1:]}"
            for e in error.errors(include_input=False)
        )
        raise ConfigError(f"The environment is wrong: {lines}.") from None


def describe_settings() -> str:
    """Return all settings as a Markdown document; docs/settings.md is this text."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "Every setting is an environment variable. With `KLANKBORD_SECRETS_DIR` set, a file there with a",
            "variable's name in lower case (`klankbord_clickhouse_password`) does the same. Brands and feeds",
            "stand in `klankbord.toml`. This page is what `klankbord settings` prints.",
            "",
            "| variable | default | what it is for |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _shown(default: object) -> str:
    if default is None or isinstance(default, SecretStr):
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
