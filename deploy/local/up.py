"""`klankbord up`: the local stack in the foreground, shown to a person.

Starts everything, loads the sample once per data directory, prints where everything is, and stops in order
on Ctrl-C or SIGTERM.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import structlog
from rich.console import Console
from rich.status import Status

from deploy.local.monitoring import HOW_TO_INSTALL, installed
from deploy.local.processes import rotate
from deploy.local.sample import sample_lines
from deploy.local.stack import LocalStack, StackOptions
from shared.brands import load_brands
from shared.clock import SystemClock
from shared.errors import ConfigError, StackError
from shared.settings import load_settings
from shared.telemetry import configure_logging

SAMPLE_CONFIG = Path(__file__).parent / "sample" / "klankbord.toml"
_SAMPLE_SECONDS = 30.0
# Longer than a mention takes from ingest to the rollup; some of the sample match no brand and never come.
_SETTLED_SECONDS = 3.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class UpOptions:
    """What the command line said; a port or config that is None: the usual one."""

    data_dir: Path
    api_port: int | None
    ingest_port: int | None
    sample: bool
    config: Path | None
    host: str
    with_monitoring: bool = False
    alert_webhook: str | None = None


def run_up(options: UpOptions) -> int:
    """Run the stack until Ctrl-C or SIGTERM; return 0.

    Raises ConfigError when klankbord.toml is wrong and StackError when something cannot start.
    """
    config = config_file(options, Path.cwd())
    brands = load_brands(config).brands
    settings = load_settings().model_copy(update={"log_format": "json"})
    logs = options.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    rotate(logs / "launcher.log")
    with (logs / "launcher.log").open("a") as log_file, Terminal.open() as terminal:
        configure_logging("launcher", settings, log_file)
        if not brands:
            why = "names no brands yet" if config.exists() else "is not there yet"
            terminal.report(f"{config} {why}: only mentions that name their brand are kept")
        return asyncio.run(_run(options, config, terminal))


def config_file(options: UpOptions, here: Path) -> Path:
    """Return which klankbord.toml counts: the one asked for, else that in `here`, else the sample's.

    Raises ConfigError when the one asked for does not exist.
    """
    if options.config is not None:
        if not options.config.is_file():
            raise ConfigError(f"{options.config} does not exist; correct --config, or leave it out.")
        return options.config
    own = here / "klankbord.toml"
    return SAMPLE_CONFIG if options.sample and not own.exists() else own


class Terminal:
    """Tells a person, and the launcher's log file, what happens."""

    def __init__(self, console: Console, spinner: Status | None) -> None:
        self._console = console
        self._spinner = spinner

    @classmethod
    @contextmanager
    def open(cls) -> "Iterator[Terminal]":
        """Give a terminal on standard output; with a spinner when a person sits at it."""
        console = Console(highlight=False, soft_wrap=True)
        spinner = console.status("starting") if console.is_terminal else None
        try:
            yield cls(console, spinner)
        finally:
            if spinner is not None:
                spinner.stop()

    def report(self, message: str, **fields: Any) -> None:
        """Say what happened."""
        self.show(f"{message} ({fields['seconds']} s)" if "seconds" in fields else message)
        log.info(message, **fields)

    def show(self, text: str) -> None:
        """Print `text` for the person only."""
        self._console.print(text, markup=False)

    def status(self, text: str) -> None:
        """Show what is going on; an empty text ends that."""
        if self._spinner is None:
            if text:
                self.show(f"{text} ...")
        elif text:
            self._spinner.update(text)
            self._spinner.start()
        else:
            self._spinner.stop()


async def _run(options: UpOptions, config: Path, terminal: Terminal) -> int:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked_to_stop.set)
    tools = installed() if options.with_monitoring else None
    if options.with_monitoring and tools is None:
        terminal.report(HOW_TO_INSTALL)
    stack = LocalStack(
        StackOptions(
            data_dir=options.data_dir,
            config_file=config,
            host=options.host,
            api_port=options.api_port,
            ingest_port=options.ingest_port,
            monitoring=tools,
            alert_webhook=options.alert_webhook,
        ),
        terminal.report,
        terminal.status,
    )
    starting = asyncio.create_task(_start(stack, options, config, terminal))
    stopping = asyncio.create_task(asked_to_stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stopping
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await _stop(stack, terminal)
    return 0


async def _start(stack: LocalStack, options: UpOptions, config: Path, terminal: Terminal) -> None:
    began = time.monotonic()
    await stack.start()
    ready = round(time.monotonic() - began, 1)
    if options.sample:
        await _load_sample(stack, options.data_dir / "sample.loaded", terminal)
    terminal.status("")
    terminal.report("all is ready", seconds=ready)
    terminal.show(_summary(stack, options, config))


async def _stop(stack: LocalStack, terminal: Terminal) -> None:
    if not stack.pids:
        # Nothing came up; the reason is told as an error.
        await stack.stop()
        terminal.status("")
        return
    began = time.monotonic()
    terminal.status("stopping; what was accepted is kept")
    await stack.stop()
    terminal.status("")
    terminal.report("stopped", seconds=round(time.monotonic() - began, 1))


def _summary(stack: LocalStack, options: UpOptions, config: Path) -> str:
    addresses = stack.addresses
    lines = [
        "",
        "Klankbord runs.",
        f"  page       {addresses.api_url}/",
        f"  API docs   {addresses.api_url}/docs",
        f"  ingest     {addresses.ingest_url}/v1/mentions",
        f"  brands     {config}",
        f"  logs       {stack.logs}",
    ]
    for name, url in stack.monitoring_urls.items():
        lines.append(f"  {name:<10} {url}")
    if options.host not in {"127.0.0.1", "localhost", "::1"}:
        lines.append(f"  Everybody who can reach {options.host} can read everything and send mentions.")
    return "\n".join([*lines, "Ctrl-C stops everything.", ""])


async def _load_sample(stack: LocalStack, marker: Path, terminal: Terminal) -> None:
    """Send the sample to ingest, once per data directory, and wait until the API shows it."""
    if marker.exists():
        return
    terminal.status("loading the sample mentions")
    lines = "\n".join(sample_lines(SystemClock().now()))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(
            f"{stack.addresses.ingest_url}/v1/mentions",
            content=lines.encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        if answer.status_code != httpx.codes.ACCEPTED:
            raise StackError(f"Ingest refused the sample mentions: {answer.status_code} {answer.text[:500]}")
        accepted = int(answer.json()["accepted"])
        marker.touch()
        shown = await _visible(client, stack.addresses.api_url, accepted)
    terminal.report(f"{accepted} sample mentions accepted; {shown} are about a brand and can be seen")


async def _visible(client: httpx.AsyncClient, api_url: str, accepted: int) -> int:
    """Return how many mentions the API shows, once that is `accepted` or has stopped growing."""
    now = SystemClock().now()
    period = {
        "from": (now - timedelta(days=120)).isoformat(timespec="seconds"),
        "to": (now + timedelta(days=1)).isoformat(timespec="seconds"),
    }
    deadline = time.monotonic() + _SAMPLE_SECONDS
    shown, since = 0, time.monotonic()
    while shown < accepted and time.monotonic() < deadline:
        answer = await client.get(
            f"{api_url}/v1/timeseries", params={"metric": "mentions", "interval": "month", **period}
        )
        answer.raise_for_status()
        count = sum(point["value"] for series in answer.json()["series"] for point in series["points"])
        if count != shown:
            shown, since = count, time.monotonic()
        elif shown and time.monotonic() - since > _SETTLED_SECONDS:
            break
        await asyncio.sleep(0.2)
    return shown
