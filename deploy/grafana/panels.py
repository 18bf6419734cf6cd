"""What the dashboards are made of: panels over ClickHouse or Prometheus, with units and what they answer."""

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models import dashboard as models

CLICKHOUSE = models.DataSourceRef(type_val="grafana-clickhouse-datasource", uid="clickhouse")
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="prometheus")
PLUGIN_VERSION = "4.21.2"
"""Of grafana-clickhouse-datasource, whose shape of a query this is; docker-compose.yml installs it."""
COUNT, RATIO, SCORE = "short", "percentunit", "none"


@dataclass
class ClickHouseQuery(variants.Dataquery):
    """One query as the plugin's SQL editor keeps it."""

    sql: str
    time_series: bool

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that a panel holds."""
        return {
            "datasource": CLICKHOUSE.to_json(),
            "editorType": "sql",
            "format": 0 if self.time_series else 1,
            "pluginVersion": PLUGIN_VERSION,
            "queryType": "timeseries" if self.time_series else "table",
            "rawSql": self.sql,
            "refId": "A",
        }


class _Query(builder.Builder[ClickHouseQuery]):
    def __init__(self, sql: str, *, time_series: bool) -> None:
        self._query = ClickHouseQuery(" ".join(sql.split()), time_series)

    def build(self) -> ClickHouseQuery:
        return self._query


Panel = stat.Panel | timeseries.Panel | table.Panel | bargauge.Panel


def sql_stat(title: str, about: str, sql: str, unit: str) -> stat.Panel:
    """Return one number from ClickHouse."""
    panel = stat.Panel().title(title).description(about).unit(unit).datasource(CLICKHOUSE)
    return panel.with_target(_Query(sql, time_series=False)).height(4).span(6)


def sql_series(title: str, about: str, sql: str, unit: str, *, span: int = 12) -> timeseries.Panel:
    """Return lines over time from ClickHouse."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).datasource(CLICKHOUSE)
    return panel.with_target(_Query(sql, time_series=True)).fill_opacity(8).height(8).span(span)


def sql_table(title: str, about: str, sql: str, *, span: int = 12) -> table.Panel:
    """Return a table from ClickHouse."""
    panel = table.Panel().title(title).description(about).datasource(CLICKHOUSE)
    return panel.with_target(_Query(sql, time_series=False)).height(8).span(span)


def prom_stat(title: str, about: str, expr: str, unit: str, *, red_from: float | None = None) -> stat.Panel:
    """Return one number from Prometheus; red from a threshold on."""
    panel = stat.Panel().title(title).description(about).unit(unit).datasource(PROMETHEUS)
    panel = panel.with_target(_prometheus(expr, "")).reduce_options(
        ReduceDataOptions().calcs(["lastNotNull"])
    )
    return panel.thresholds(_red_from(red_from)).height(4).span(6)


def prom_series(  # noqa: PLR0913
    title: str, about: str, expr: str, unit: str, legend: str, *, red_from: float | None = None
) -> timeseries.Panel:
    """Return lines over time from Prometheus; a threshold where one is alerted on."""
    panel = timeseries.Panel().title(title).description(about).unit(unit).datasource(PROMETHEUS)
    panel = panel.with_target(_prometheus(expr, legend)).fill_opacity(8).height(8).span(12)
    return panel.thresholds(_red_from(red_from))


def _prometheus(expr: str, legend: str) -> Dataquery:
    query = Dataquery().expr(expr).ref_id("A").datasource(PROMETHEUS).range()
    return query.legend_format(legend) if legend else query


def _red_from(value: float | None) -> ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    if value is not None:
        steps.append(models.Threshold(value=value, color="red"))
    return ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
