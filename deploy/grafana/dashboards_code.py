"""The dashboards: Voice of the candidate (HR), Pipeline (ops), Sources."""

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import (
    CLICKHOUSE,
    COUNT,
    RATIO,
    SCORE,
    prom_series,
    prom_stat,
    sql_series,
    sql_stat,
    sql_table,
)

_WHERE = "FROM mentions_hourly FINAL WHERE $__timeFilter(hour) AND brand IN (${brand:singlequote})"
_RATE = "if(sum(mentions) = 0, NULL, sum(fails) / sum(mentions))"
_SENTIMENT = "if(sum(mentions) = 0, NULL, sum(sentiment_sum) / sum(mentions))"
_LINKED = "klankbord"


def rendered() -> dict[str, str]:
    """Return the dashboards as JSON, by file name."""
    made = {"voice.json": voice(), "pipeline.json": pipeline(), "sources.json": sources()}
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {name: encoder.encode(one.build()) + "\n" for name, one in made.items()}


def _dashboard(title: str, uid: str, about: str, period: str) -> Dashboard:
    links = DashboardLink("Klankbord").type(models.DashboardLinkType.DASHBOARDS).tags([_LINKED])
    return (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([_LINKED])
        .timezone("browser")
        .time(period, "now")
        .refresh("1m")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(links.keep_time(True).include_vars(True).as_dropdown(False))
    )


def _brands() -> QueryVariable:
    return (
        QueryVariable("brand")
        .label("Brand")
        .datasource(CLICKHOUSE)
        .query("SELECT DISTINCT brand FROM mentions_hourly FINAL ORDER BY brand")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(text="All", value="$__all"))
    )


def _by(column: str) -> str:
    return (
        f"SELECT {column}, sum(mentions) AS all_mentions, sum(fails) AS all_fails, round({_RATE}, 3) AS fail_rate, "
        f"sum(questions) AS all_questions, round({_SENTIMENT}, 2) AS mean_sentiment {_WHERE} "
        f"GROUP BY {column} ORDER BY all_fails DESC"
    )


def voice() -> Dashboard:
    """Return what HR steers by: fewer #fails and fewer questions."""
    per_day = "toStartOfDay(hour, 'Europe/Amsterdam') AS time"
    month = (
        "SELECT measure, last_30_days, before_that, last_30_days - before_that AS change FROM (SELECT arrayJoin([('mentions', "
        "sumIf(mentions, new), sumIf(mentions, NOT new)), ('fails', sumIf(fails, new), sumIf(fails, NOT new)), ('questions', "
        "sumIf(questions, new), sumIf(questions, NOT new))]) AS row, row.1 AS measure, toInt64(row.2) AS last_30_days, "
        "toInt64(row.3) AS before_that FROM (SELECT *, hour >= now() - INTERVAL 30 DAY AS new FROM mentions_hourly FINAL "
        "WHERE hour >= now() - INTERVAL 60 DAY AND brand IN (${brand:singlequote})))"
    )
    return (
        _dashboard(
            "Voice of the candidate",
            "klankbord-voice",
            "What candidates say about an employer. Steer on fewer #fails and fewer questions; look after a month "
            "whether it helped. Every rate has its number of mentions beside it: of few, little can be said.",
            "now-90d",
        )
        .with_variable(_brands())
        .with_panel(
            sql_stat(
                "Mentions",
                "Of the public, in the period: the denominator.",
                f"SELECT sum(mentions) AS mentions {_WHERE}",
                COUNT,
            )
        )
        .with_panel(
            sql_stat(
                "#fails",
                "Mentions that voice an unmet expectation.",
                f"SELECT sum(fails) AS fails {_WHERE}",
                COUNT,
            )
        )
        .with_panel(
            sql_stat(
                "Questions",
                "Mentions that ask something.",
                f"SELECT sum(questions) AS questions {_WHERE}",
                COUNT,
            )
        )
        .with_panel(
            sql_stat(
                "Fail rate",
                "#fails of all mentions in the period.",
                f"SELECT {_RATE} AS fail_rate {_WHERE}",
                RATIO,
            )
        )
        .with_panel(
            sql_series(
                "#fails and questions a day",
                "In Dutch days.",
                f"SELECT {per_day}, sum(fails) AS fails, sum(questions) AS questions {_WHERE} GROUP BY time ORDER BY time",
                COUNT,
            )
        )
        .with_panel(
            sql_series(
                "Fail rate a day, and of how many",
                "A rate of few mentions jumps: see the number.",
                f"SELECT {per_day}, {_RATE} AS fail_rate {_WHERE} GROUP BY time ORDER BY time",
                RATIO,
            )
        )
        .with_panel(
            sql_series(
                "Mentions a day",
                "The denominator of the rate beside it.",
                f"SELECT {per_day}, sum(mentions) AS mentions {_WHERE} GROUP BY time ORDER BY time",
                COUNT,
            )
        )
        .with_panel(
            sql_series(
                "Sentiment a day",
                "Mean of -1 (negative) to 1 (positive).",
                f"SELECT {per_day}, {_SENTIMENT} AS sentiment {_WHERE} GROUP BY time ORDER BY time",
                SCORE,
            )
        )
        .with_panel(
            sql_table(
                "Month over month", "The last 30 days beside the 30 before, whatever the period above.", month
            )
        )
        .with_panel(sql_table("By stage of the journey", "Where in the journey it goes wrong.", _by("stage")))
        .with_panel(
            sql_table(
                "By channel",
                "Where it is said. A silent source is a gap, no improvement: see Sources.",
                _by("source"),
            )
        )
        .with_panel(sql_table("By language", "What language it is said in.", _by("language")))
    )


def pipeline() -> Dashboard:
    """Return whether the pipeline is well, for those who are called when it is not."""
    p99 = "histogram_quantile({q}, sum by (le{by}) (rate({name}_bucket[5m])))"
    end_to_end = p99.format(q=0.99, by="", name="klankbord_metrics_end_to_end_seconds")
    return (
        _dashboard(
            "Pipeline", "klankbord-pipeline", "Rates, lag, delay, errors, dead letters, resources.", "now-6h"
        )
        .with_panel(
            prom_stat(
                "Services down",
                "Of all that Prometheus scrapes.",
                'count(up{job=~"klankbord-.*"} == 0) or vector(0)',
                COUNT,
                red_from=1,
            )
        )
        .with_panel(
            prom_stat(
                "Messages that wait",
                "Consumer lag of enrich and metrics together.",
                "sum(klankbord_consumer_lag_messages) or vector(0)",
                COUNT,
                red_from=5_000,
            )
        )
        .with_panel(
            prom_stat(
                "Dead letters, last hour",
                "klankbord dead list shows them.",
                "sum(increase(klankbord_dead_letters_total[1h])) or vector(0)",
                COUNT,
                red_from=1,
            )
        )
        .with_panel(
            prom_stat(
                "Since the last commit",
                "Of the sink, to ClickHouse.",
                "time() - max(klankbord_metrics_last_commit_timestamp_seconds)",
                "s",
            )
        )
        .with_row(Row("Rates"))
        .with_panel(
            prom_series(
                "Mentions a second",
                "Accepted by ingest, labelled, inserted.",
                'label_replace(sum(rate(klankbord_ingest_accepted_total[1m])), "part", "accepted", "", "") or label_replace(sum(rate(klankbord_enrich_produced_total[1m])), "part", "labelled", "", "") or label_replace(sum(rate(klankbord_metrics_rows_total[1m])), "part", "inserted", "", "")',
                "cps",
                "{{part}}",
            )
        )
        .with_panel(
            prom_series(
                "Lag by topic",
                "Messages that wait; 5,000 and growing is alerted on.",
                "sum by (service, topic) (klankbord_consumer_lag_messages)",
                COUNT,
                "{{service}} {{topic}}",
                red_from=5_000,
            )
        )
        .with_row(Row("Delay"))
        .with_panel(
            prom_series(
                "From ingest to visible, p99",
                "A minute is alerted on.",
                f"({end_to_end} >= 0) or vector(0)",
                "s",
                "p99",
                red_from=60,
            )
        )
        .with_panel(
            prom_series(
                "Requests, p95",
                "Time to answer, by service.",
                "(label_replace("
                + p99.format(q=0.95, by="", name="klankbord_ingest_request_seconds")
                + ', "service", "ingest", "", "") or label_replace('
                + p99.format(q=0.95, by="", name="klankbord_api_request_seconds")
                + ', "service", "api", "", "")) >= 0 or vector(0)',
                "s",
                "{{service}}",
            )
        )
        .with_panel(
            prom_series(
                "Labelling, by step",
                "Seconds of work a second.",
                "sum by (step) (rate(klankbord_enrich_step_seconds_total[5m]))",
                "s",
                "{{step}}",
            )
        )
        .with_panel(
            prom_series(
                "Insert, p95",
                "Time of one insert into ClickHouse.",
                "("
                + p99.format(q=0.95, by="", name="klankbord_metrics_insert_seconds")
                + " >= 0) or vector(0)",
                "s",
                "p95",
            )
        )
        .with_row(Row("Errors"))
        .with_panel(
            prom_series(
                "5xx of ingest",
                "Share of requests; 5 % is alerted on.",
                'sum(rate(klankbord_ingest_requests_total{status=~"5.."}[5m])) / sum(rate(klankbord_ingest_requests_total[5m])) or vector(0)',
                RATIO,
                "5xx",
                red_from=0.05,
            )
        )
        .with_panel(
            prom_series(
                "Put aside, by reason",
                "Dead letters a minute.",
                "sum by (service, reason) (rate(klankbord_dead_letters_total[5m])) * 60 or vector(0)",
                "cpm",
                "{{service}} {{reason}}",
            )
        )
        .with_panel(
            prom_series(
                "Refused by ingest, by reason",
                "Mentions a minute; each sender was told why.",
                "sum by (reason) (rate(klankbord_ingest_rejected_total[5m])) * 60 or vector(0)",
                "cpm",
                "{{reason}}",
            )
        )
        .with_panel(
            prom_series(
                "Work on ClickHouse tried again",
                "A minute; above 0 it does not answer.",
                "sum(rate(klankbord_metrics_retries_total[5m])) * 60 or vector(0)",
                "cpm",
                "retries",
            )
        )
        .with_row(Row("Resources"))
        .with_panel(
            prom_series(
                "Memory",
                "Resident, by service.",
                'process_resident_memory_bytes{job=~"klankbord-.*"}',
                "bytes",
                "{{job}} {{instance}}",
            )
        )
        .with_panel(
            prom_series(
                "Processor",
                "Cores, by service.",
                'rate(process_cpu_seconds_total{job=~"klankbord-.*"}[1m])',
                "none",
                "{{job}} {{instance}}",
            )
        )
        .with_panel(
            prom_series(
                "In flight in ingest",
                "Bytes taken and not yet acknowledged by Kafka, of what may be.",
                "klankbord_ingest_inflight_bytes / klankbord_ingest_inflight_limit_bytes",
                RATIO,
                "{{instance}}",
                red_from=0.9,
            )
        )
        .with_panel(
            prom_series(
                "ClickHouse's disk, free",
                "Under 15 % is alerted on.",
                "klankbord_metrics_disk_free_bytes / klankbord_metrics_disk_total_bytes",
                RATIO,
                "{{disk}}",
            )
        )
    )


def sources() -> Dashboard:
    """Return whether each source still delivers: a silent one is no improvement."""
    return (
        _dashboard(
            "Sources",
            "klankbord-sources",
            "Which source delivers, which fell silent, which fails.",
            "now-30d",
        )
        .with_variable(_brands())
        .with_panel(
            prom_stat(
                "Silent sources",
                "They deliver nothing although they should.",
                "sum(max by (source) (klankbord_source_silent)) or vector(0)",
                COUNT,
                red_from=1,
            )
        )
        .with_panel(
            prom_stat(
                "Sources that fail, last hour",
                "Polls that failed, entries that were refused.",
                "count(sum by (source) (increase(klankbord_ingest_source_errors_total[1h])) > 0) or vector(0)",
                COUNT,
                red_from=1,
            )
        )
        .with_panel(
            prom_stat(
                "Spikes that are on",
                "Of complaints, over all brands.",
                'sum(max by (brand, severity) (klankbord_spikes_active{kind="spike"})) or vector(0)',
                COUNT,
                red_from=1,
            )
        )
        .with_panel(
            prom_stat(
                "Mentions by source, last hour",
                "Accepted by ingest.",
                "sum(increase(klankbord_ingest_source_items_total[1h])) or vector(0)",
                COUNT,
            )
        )
        .with_panel(
            prom_series(
                "Accepted, by source",
                "Mentions an hour.",
                "sum by (source) (rate(klankbord_ingest_source_items_total[1h])) * 3600",
                "none",
                "{{source}}",
            )
        )
        .with_panel(
            prom_series(
                "Since the last success",
                "Of a poll, or of a mention that was pushed.",
                "time() - max by (source) (klankbord_ingest_source_last_success_timestamp_seconds)",
                "s",
                "{{source}}",
            )
        )
        .with_panel(
            sql_series(
                "Mentions a day, by source",
                "What was said there, by when it was published.",
                f"SELECT toStartOfDay(hour, 'Europe/Amsterdam') AS time, source, sum(mentions) AS mentions {_WHERE} GROUP BY time, source ORDER BY time",
                COUNT,
            )
        )
        .with_panel(
            sql_table(
                "Each source",
                "Newest mention, and how much it brought in the period.",
                f"SELECT source, max(hour) AS newest_hour, sum(mentions) AS mentions, sum(fails) AS fails {_WHERE} GROUP BY source ORDER BY newest_hour DESC",
            )
        )
        .with_panel(
            prom_series(
                "Failures, by source and reason",
                "An hour.",
                "sum by (source, reason) (rate(klankbord_ingest_source_errors_total[1h])) * 3600 or vector(0)",
                "none",
                "{{source}} {{reason}}",
            )
        )
    )
