"""The whole product on one machine: Kafka, ClickHouse's engine and the four services, as child processes.

`LocalStack.start` returns when everything answers, `LocalStack.stop` when everything has stopped, in order
and with nothing lost. The services get addresses through their environment, as a container would give them.
"""

import asyncio
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import httpx
from aiokafka.errors import KafkaError

from deploy.local import ports
from deploy.local.kafka import KafkaNode, prepare_kafka, resolve_jars
from deploy.local.monitoring import (
    Tools,
    alertmanager_argv,
    alertmanager_config,
    prometheus_argv,
    prometheus_config,
)
from deploy.local.ports import Wish
from deploy.local.processes import ChildProcess, Command, Report
from services.metrics.migrate import migrate
from shared.errors import DependencyUnavailable, StackError
from shared.settings import PREFIX, Settings
from shared.topics import create_topics

READY_SECONDS = 60.0
_RETRY_SECONDS = 0.1


class Service(StrEnum):
    """The services, in the order in which mentions pass them."""

    INGEST = "ingest"
    ENRICH = "enrich"
    METRICS = "metrics"
    API = "api"


# People are promised that Ctrl-C takes no longer than 10 s.
STOP_SECONDS = 9.5
# Who stops together, what feeds others first; and the seconds kept for them, however slow those before are.
_STOP_ORDER: tuple[tuple[float, tuple[str, ...]], ...] = (
    (1.5, (Service.INGEST,)),
    (1.5, (Service.ENRICH,)),
    (1.5, (Service.METRICS, Service.API)),
    (3.0, ("clickhouse", "kafka", "prometheus", "alertmanager")),
)


@dataclass(frozen=True)
class StackOptions:
    """What to run and where.

    A port that is None: the usual one, or a free one when that is taken. `usual_ports` False: free ports for
    all that are not named, so that several stacks run side by side. `environment` adds to the services' own.
    `enrich_workers` share the work of enrich; they are called enrich, enrich-2 and so on. With `monitoring`,
    Prometheus and Alertmanager run too; alerts are posted to `alert_webhook`.
    """

    data_dir: Path
    config_file: Path
    host: str = ports.LOOPBACK
    api_port: int | None = None
    ingest_port: int | None = None
    usual_ports: bool = True
    services: tuple[Service, ...] = tuple(Service)
    environment: Mapping[str, str] = field(default_factory=dict)
    enrich_workers: int = 1
    monitoring: Tools | None = None
    alert_webhook: str | None = None

    @property
    def extra_workers(self) -> tuple[str, ...]:
        """The names of the enrich workers besides the first."""
        return tuple(f"{Service.ENRICH}-{number}" for number in range(2, self.enrich_workers + 1))


@dataclass(frozen=True)
class Addresses:
    """Where everything listens, and by which brands; written to addresses.json while the stack runs."""

    pid: int
    api_url: str
    ingest_url: str
    kafka_bootstrap_servers: str
    clickhouse_url: str
    config_file: str

    def write(self, file: Path) -> None:
        """Write `file` so that a reader sees all of it or nothing."""
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(vars(self), indent=2) + "\n")
        partial.replace(file)


class LocalStack:
    """The stack on one data directory. Use it on one event loop, in the main thread.

    `report` gets what happened, `status` what is going on now.
    """

    def __init__(
        self, options: StackOptions, report: Report, status: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._options = options
        self._report = report
        self._status = status
        self._data_dir = options.data_dir.resolve()
        self._ports: dict[str, int] = {}
        self._children: dict[str, ChildProcess] = {}
        self._lock: IO[str] | None = None
        self._cancelled = threading.Event()

    @property
    def logs(self) -> Path:
        """Where every process writes its log."""
        return self._data_dir / "logs"

    @property
    def addresses(self) -> Addresses:
        """Where everything listens, once `start` has chosen the ports."""
        return Addresses(
            pid=os.getpid(),
            api_url=self._url(Service.API),
            ingest_url=self._url(Service.INGEST),
            kafka_bootstrap_servers=f"{ports.LOOPBACK}:{self._ports['kafka']}",
            clickhouse_url=f"http://{ports.LOOPBACK}:{self._ports['clickhouse']}",
            config_file=str(self._options.config_file.resolve()),
        )

    @property
    def settings(self) -> Settings:
        """The settings of the services, once `start` has chosen the ports."""
        ours = self._settings_of(Service.API)
        return Settings(**{name.removeprefix(PREFIX).lower(): value for name, value in ours.items()})  # type: ignore[arg-type]

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what runs, by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    async def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises StackError, which says what failed and what to do. Call `stop` afterwards in any case.
        """
        self._cancelled.clear()
        self.logs.mkdir(parents=True, exist_ok=True)
        self._lock_data_dir()
        self._choose_ports()
        self._status("starting Kafka and ClickHouse")
        await _together(self._start_kafka(), self._start_clickhouse())
        self._status("starting the services")
        extra = (self._start_service(Service.ENRICH, name) for name in self._options.extra_workers)
        await _together(*(self._start_service(service) for service in self._options.services), *extra)
        if self._options.monitoring is not None:
            self._status("starting Prometheus and Alertmanager")
            await self._start_monitoring(self._options.monitoring)
        for child in self._children.values():
            child.keep_alive()
        self.addresses.write(self._data_dir / "addresses.json")

    async def stop(self) -> None:
        """Stop what runs, in order, within 10 s, and let go of the data directory."""
        self._cancelled.set()
        deadline = time.monotonic() + STOP_SECONDS
        for step, (_, names) in enumerate(_STOP_ORDER):
            kept_for_others = sum(seconds for seconds, _ in _STOP_ORDER[step + 1 :])
            seconds = max(0.1, deadline - kept_for_others - time.monotonic())
            workers = self._options.extra_workers if Service.ENRICH in names else ()
            children = [self._children[name] for name in (*names, *workers) if name in self._children]
            await asyncio.gather(*(child.stop(seconds) for child in children))
        self._children.clear()
        if self._lock is not None:
            (self._data_dir / "addresses.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _lock_data_dir(self) -> None:
        # Held by this process as long as it lives; children do not inherit it.
        lock = (self._data_dir / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(20).strip() or "?"
            lock.close()
            raise StackError(
                f"{self._data_dir} is already in use by process {holder}{self._page_of_holder()}. "
                "Stop that one first, or give this one a --data-dir of its own."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _page_of_holder(self) -> str:
        try:
            addresses = json.loads((self._data_dir / "addresses.json").read_text())
        except FileNotFoundError:
            return ", which is still starting"
        return f" (its page: {addresses['api_url']})"

    def _choose_ports(self) -> None:
        options = self._options
        usual = options.usual_ports
        wishes = (
            Wish("api", 8080 * usual, options.host, options.api_port, "--api-port"),
            Wish("ingest", 8081 * usual, options.host, options.ingest_port, "--ingest-port"),
            Wish("enrich", 8082 * usual),
            Wish("metrics", 8083 * usual),
            Wish("kafka", 9092 * usual),
            Wish("kafka's controller", 9093 * usual),
            Wish("clickhouse", 8123 * usual),
            *(Wish(name, 0) for name in options.extra_workers),
            *(
                (Wish("prometheus", 9090 * usual), Wish("alertmanager", 9094 * usual))
                if options.monitoring
                else ()
            ),
        )
        chosen = ports.choose(wishes, ports.is_free, ports.any_free)
        for choice in chosen.values():
            if choice.note:
                self._report(choice.note)
        self._ports = {choice.part: choice.port for choice in chosen.values()}

    async def _start_kafka(self) -> None:
        jars = await asyncio.to_thread(resolve_jars, self._jar_progress(), self._cancelled)
        node = KafkaNode(
            directory=self._data_dir / "kafka",
            log_file=self.logs / "kafka.log",
            port=self._ports["kafka"],
            controller_port=self._ports["kafka's controller"],
        )
        await self._run(await prepare_kafka(node, jars, self._report))
        await _patiently("Kafka", lambda: create_topics(self.settings))

    async def _start_clickhouse(self) -> None:
        port = self._ports["clickhouse"]
        where = ("--path", str(self._data_dir / "clickhouse"), "--host", ports.LOOPBACK, "--port", str(port))
        argv = (sys.executable, "-P", "-m", "deploy.local.clickhouse", *where)
        await self._run(self._child("clickhouse", argv, {}, f"{self.addresses.clickhouse_url}/ping"))
        await _patiently("ClickHouse", lambda: asyncio.to_thread(migrate, self.settings))

    async def _start_service(self, service: Service, name: str | None = None) -> None:
        name = name or service.value
        # The console command beside this interpreter: what a container's entry point is, too.
        argv = (str(Path(sys.executable).with_name("klankbord")), "serve", service.value)
        ours = {**self._settings_of(service), f"{PREFIX}{service.upper()}_PORT": str(self._ports[name])}
        await self._run(self._child(name, argv, ours, f"{self._url(service, name)}/readyz"))

    async def _start_monitoring(self, tools: Tools) -> None:
        folder = self._data_dir / "monitoring"
        folder.mkdir(exist_ok=True)
        workers: dict[str, tuple[str, ...]] = {
            service.value: (service.value,) for service in self._options.services
        }
        workers[Service.ENRICH] = (Service.ENRICH, *self._options.extra_workers)
        targets = {
            service: tuple(f"{ports.LOOPBACK}:{self._ports[name]}" for name in names)
            for service, names in workers.items()
        }
        config = prometheus_config(targets, self._ports["alertmanager"])
        (folder / "prometheus.yml").write_text(config, encoding="utf-8")
        (folder / "alertmanager.yml").write_text(
            alertmanager_config(self._options.alert_webhook), encoding="utf-8"
        )
        for name, argv in (
            ("alertmanager", alertmanager_argv(tools, folder, self._ports["alertmanager"])),
            ("prometheus", prometheus_argv(tools, folder, self._ports["prometheus"])),
        ):
            await self._run(self._child(name, argv, {}, f"{self.monitoring_urls[name]}/-/ready"))

    @property
    def monitoring_urls(self) -> dict[str, str]:
        """Where Prometheus and Alertmanager are, by name; nothing without monitoring."""
        names = ("prometheus", "alertmanager") if self._options.monitoring else ()
        return {name: f"http://{ports.LOOPBACK}:{self._ports[name]}" for name in names}

    async def _run(self, child: ChildProcess) -> None:
        self._children[child.name] = child
        started = time.monotonic()
        await child.start()
        await child.wait_until_ready(READY_SECONDS)
        self._report(
            f"{child.name} is ready", process=child.name, seconds=round(time.monotonic() - started, 2)
        )

    def _child(
        self, name: str, argv: tuple[str, ...], ours: Mapping[str, str], ready_url: str
    ) -> ChildProcess:
        log_file = self.logs / f"{name}.log"
        environment = {**_inherited(), f"{PREFIX}LOG_FORMAT": "json", **ours, **self._options.environment}
        return ChildProcess(
            Command(name, argv, environment, self._data_dir, log_file),
            self._report,
            lambda: _answers(ready_url),
        )

    def service_environment(self, service: str) -> dict[str, str]:
        """Return the environment in which a service finds this stack, for one that is run beside it."""
        return {**_inherited(), **self._settings_of(Service(service)), **self._options.environment}

    def _settings_of(self, service: Service) -> dict[str, str]:
        outside = service in {Service.API, Service.INGEST}
        values = {
            "config_file": str(self._options.config_file.resolve()),
            "host": self._options.host if outside else ports.LOOPBACK,
            "kafka_bootstrap_servers": self.addresses.kafka_bootstrap_servers,
            "clickhouse_url": self.addresses.clickhouse_url,
            **{f"{name}_port": str(self._ports[name]) for name in Service},
        }
        if urls := self.monitoring_urls:
            values["alertmanager_url"] = urls["alertmanager"]
        return {f"{PREFIX}{name.upper()}": value for name, value in values.items()}

    def _url(self, service: Service, name: str | None = None) -> str:
        outside = service in {Service.API, Service.INGEST}
        host = self._options.host if outside else ports.LOOPBACK
        # A server can listen on all addresses; nobody can go there.
        host = {"0.0.0.0": ports.LOOPBACK, "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._ports[name or service]}"

    def _jar_progress(self) -> Callable[[int, int], None]:
        loop = asyncio.get_running_loop()

        def show(done: int, total: int) -> None:
            text = f"resolving Kafka's jars {done}/{total} (first start only)"
            loop.call_soon_threadsafe(self._status, text)

        return show


async def _answers(url: str) -> bool:
    """Whether `url`, of this machine and so never behind a proxy, answers 200."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as client:
        try:
            return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def _inherited() -> dict[str, str]:
    """Return this process's environment without what would lead a service to another Kafka or ClickHouse."""
    elsewhere = tuple(f"{PREFIX}{name}" for name in ("KAFKA_", "CLICKHOUSE_", "SECRETS_DIR"))
    return {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}


async def _together(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run `jobs` at the same time; when one fails, end the others first, then raise its error."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _patiently(dependency: str, job: Callable[[], Awaitable[object]]) -> None:
    """Do `job`, again while the dependency does not answer. Raises StackError when that takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            await job()
        except (KafkaError, DependencyUnavailable) as error:
            if time.monotonic() > deadline:
                raise StackError(f"{dependency} runs, but cannot be set up: {error!r}.") from error
        else:
            return
        await asyncio.sleep(_RETRY_SECONDS)
