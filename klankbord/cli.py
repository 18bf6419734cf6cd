"""The `klankbord` command. Each command imports what it needs when it runs, so that --help stays quick."""

import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from klankbord import __version__, dead
from klankbord.corrections import app as corrections_app
from shared.errors import ConfigError, KlankbordError

app = typer.Typer(
    name="klankbord",
    help="Listen to what candidates say about an employer: #fails and questions, as honest time series.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(dead.app, name="dead")
app.add_typer(corrections_app, name="corrections")
spikes = typer.Typer(help="Spikes of #fails: what the detector would have raised.", no_args_is_help=True)
app.add_typer(spikes, name="spikes")


class Service(StrEnum):
    """The four services."""

    INGEST = "ingest"
    ENRICH = "enrich"
    METRICS = "metrics"
    API = "api"


class FileFormat(StrEnum):
    """What `import` reads."""

    CSV = "csv"
    JSONL = "jsonl"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"klankbord {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    data_dir: Annotated[
        Path, typer.Option(help="Where Kafka's and ClickHouse's data, logs and checkpoints are kept.")
    ] = Path(".klankbord"),
    api_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the page and API. [default: 8080, or a free one]"),
    ] = None,
    ingest_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port that takes mentions. [default: 8081, or a free one]"),
    ] = None,
    sample: Annotated[bool, typer.Option(help="Load the sample mentions, once per data directory.")] = True,
    config: Annotated[
        Path | None,
        typer.Option(help="Brands and feeds. [default: klankbord.toml here; else that of the sample]"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Everybody who can reach it can read all.")
    ] = "127.0.0.1",
    with_monitoring: Annotated[
        bool,
        typer.Option("--with-monitoring", help="Also run Prometheus and Alertmanager, where installed."),
    ] = False,
    alert_webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where Alertmanager posts alerts; needs --with-monitoring."),
    ] = None,
) -> None:
    """Run everything on this machine: Kafka, ClickHouse's engine and the four services. Ctrl-C stops it."""
    from deploy.local.up import UpOptions, run_up

    if alert_webhook is not None and not alert_webhook.startswith(("http://", "https://")):
        raise ConfigError(f"--alert-webhook {alert_webhook}: must begin with http:// or https://")
    options = UpOptions(
        data_dir=data_dir,
        api_port=api_port,
        ingest_port=ingest_port,
        sample=sample,
        config=config,
        host=host,
        with_monitoring=with_monitoring,
        alert_webhook=alert_webhook,
    )
    raise typer.Exit(run_up(options))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV or JSONL file of mentions, of any size.")],
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="[default: by the file's name]")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=FIELD",
            help="Which column or key is which field, e.g. --map 'Review text=text'. Repeatable; "
            "'COLUMN=' leaves a column out. What is not mapped and not a field goes under metadata.",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="A field that is the same for all, e.g. source=glassdoor."
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of dates without an offset, e.g. Europe/Amsterdam. Without it they are refused."
        ),
    ] = None,
    date_format: Annotated[
        str | None, typer.Option(help="How dates are written when not RFC 3339, e.g. '%d-%m-%Y %H:%M'.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Text encoding of the file.")] = "utf-8-sig",
    delimiter: Annotated[str | None, typer.Option(help="CSV delimiter. [default: found out]")] = None,
    ingest_url: Annotated[
        str | None,
        typer.Option(envvar="KLANKBORD_INGEST_URL", help="[default: that of the running `klankbord up`]"),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin at the start, not where an earlier run stopped.")
    ] = False,
) -> None:
    """Send a file of mentions through ingest. Run it again after an interruption: it goes on where it was."""
    from services.ingest.importer import ImportOptions, run_import

    options = ImportOptions(
        file=file,
        file_format=file_format.value if file_format else None,
        mapping=tuple(mapping or ()),
        assignments=tuple(assignments or ()),
        timezone=timezone,
        date_format=date_format,
        encoding=encoding,
        delimiter=delimiter,
        ingest_url=ingest_url,
        restart=restart,
    )
    raise typer.Exit(run_import(options))


@app.command()
def enrich(
    config: Annotated[
        Path | None, typer.Option(help="Brands and topics. [default: KLANKBORD_CONFIG_FILE]")
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Also say, by label, which words and signs weighed most.")
    ] = False,
) -> None:
    """Label mentions without Kafka: JSON lines on standard input, enriched JSON lines on standard output."""
    from services.enrich.stream import run_stream

    raise typer.Exit(run_stream(sys.stdin.buffer, sys.stdout.buffer, config, explain=why))


@app.command()
def train(
    data: Annotated[
        Path, typer.Option(help="Folder with the train_*.jsonl sets; those that are not there are left out.")
    ] = Path("../shared/data"),
    corrections: Annotated[
        Path | None,
        typer.Option(
            "--with-corrections", metavar="FILE", help="Also learn from these JSON lines (docs/accuracy.md)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the model goes. [default: the one that Klankbord comes with]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take the new model into use also where it is worse.")
    ] = False,
) -> None:
    """Train the labels' model anew. It is taken into use only when it is no worse on the fixed test set."""
    from services.enrich.training.command import TrainOptions, run_train

    options = TrainOptions(data=data, corrections=corrections, out=out, force=force)
    raise typer.Exit(run_train(options, typer.echo))


@app.command()
def reenrich(
    start: Annotated[datetime, typer.Option("--from", help="Published from when, e.g. 2026-09-01 (UTC).")],
    end: Annotated[
        datetime | None, typer.Option("--to", help="Published until when (UTC). [default: tomorrow]")
    ] = None,
    brand: Annotated[str | None, typer.Option(help="Only this brand.")] = None,
) -> None:
    """Label the stored mentions anew, after a new model or changed lists. Each still counts once."""
    from klankbord.running import running_settings
    from services.enrich.again import Again, run_reenrich
    from shared.clock import SystemClock

    until = end.replace(tzinfo=UTC) if end else SystemClock().now() + timedelta(days=1)
    if (begin := start.replace(tzinfo=UTC)) >= until:
        raise ConfigError("--from must be before --to.")
    raise typer.Exit(run_reenrich(running_settings(), Again(begin, until, brand), typer.echo))


@spikes.command()
def backtest(
    start: Annotated[datetime, typer.Option("--from", help="From when, e.g. 2026-09-01 (UTC).")],
    end: Annotated[datetime, typer.Option("--to", help="Until when, e.g. 2026-10-01 (UTC).")],
    brand: Annotated[str | None, typer.Option(help="Only this brand.")] = None,
    step_minutes: Annotated[int, typer.Option(min=1, max=1_440, help="How often it looks.")] = 15,
) -> None:
    """Run the detector on what is in ClickHouse, and print what it would have raised. Nothing is kept."""
    from klankbord.running import running_settings
    from services.metrics.backtest import Period, run_backtest

    step = timedelta(minutes=step_minutes)
    period = Period(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), step)
    raise typer.Exit(run_backtest(running_settings(), period, brand, typer.echo))


@app.command()
def serve(service: Annotated[Service, typer.Argument(help="Which service.")]) -> None:
    """Run one service, as a container does. Settings come from the environment (KLANKBORD_...)."""
    from importlib import import_module

    from shared.settings import load_settings
    from shared.telemetry import configure_logging
    from shared.tracing import start_tracing, stop_tracing

    settings = load_settings()
    configure_logging(service.value, settings)
    start_tracing(service.value, settings)
    try:
        code = import_module(f"services.{service.value}.app").run(settings)
    finally:
        stop_tracing()
    raise typer.Exit(code)


@app.command()
def health(
    service: Annotated[
        Service | None, typer.Argument(help="Which service. [default: whichever runs here]")
    ] = None,
    ready: Annotated[
        bool,
        typer.Option("--ready", help="Also ask whether it can do its work, not only whether it answers."),
    ] = False,
) -> None:
    """Ask the services on this machine how they are; the exit code is 0 when all is well."""
    from klankbord.health import probe, verdict
    from shared.settings import load_settings

    settings = load_settings()
    path = "/readyz" if ready else "/healthz"
    healths = [probe(name.value, settings, path) for name in ([service] if service else Service)]
    for one in healths:
        typer.echo(f"{one.service}: {one.detail}")
    raise typer.Exit(0 if verdict(healths, service) else 1)


@app.command()
def migrate(
    cluster: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make replicated, sharded tables on this ClickHouse cluster."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Apply all of it again: for servers that joined the cluster since."),
    ] = False,
) -> None:
    """Bring ClickHouse's tables up to date. Safe to run at any time, also twice."""
    from services.metrics.migrate import migrate as apply
    from shared.settings import load_settings

    for line in apply(load_settings(), cluster=cluster, again=again):
        typer.echo(line)


@app.command()
def topics() -> None:
    """Create the Kafka topics that are not there yet."""
    import asyncio

    from shared.settings import load_settings
    from shared.topics import create_topics

    created = asyncio.run(create_topics(load_settings()))
    typer.echo(f"created: {', '.join(created)}" if created else "all topics are there")


@app.command()
def sample() -> None:
    """Print the sample mentions as JSON lines, dated over the last 90 days."""
    from deploy.local.sample import sample_lines
    from shared.clock import SystemClock

    for line in sample_lines(SystemClock().now()):
        typer.echo(line)


@app.command()
def settings() -> None:
    """Print every setting: environment variable, default, and what it is for (docs/settings.md)."""
    from shared.settings import describe_settings

    typer.echo(describe_settings(), nl=False)


@app.command("metrics-catalogue")
def metrics_catalogue() -> None:
    """Print every Prometheus metric: name, kind, labels, and what it tells (docs/metrics.md)."""
    from shared.metrics_catalogue import describe_metrics

    typer.echo(describe_metrics(), nl=False)


def main() -> None:
    """Run the command; errors that a person can mend are one line, not a stack trace."""
    try:
        app()
    except KlankbordError as error:
        typer.secho(f"klankbord: {error}", fg="red", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
