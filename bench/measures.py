"""The measurements: each returns rows of figures. docs/performance.md says how each is got."""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from bench.kafka_rates import Rate, fill, make, peak, rate, resident
from bench.load import CONFIG, mentions, raw_events
from deploy.local.stack import LocalStack
from services.enrich.steps import Enricher
from shared.brands import parse_brands
from shared.clickhouse import connect
from shared.events import Mention, RawMention
from shared.memory import tune_memory
from shared.topics import Topic

PEERS = Path(".venv-bench/bin/python")
_MEGABYTE = 1_000_000


class Row(NamedTuple):
    """One figure."""

    what: str
    figure: float
    unit: str
    must: str = ""
    remark: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return it as the table shows it."""
        shown = f"{self.figure:,.0f}" if self.figure >= 100 else f"{self.figure:,.2f}"
        return self.what, shown, self.unit, self.must, self.remark


@dataclass(frozen=True)
class Bench:
    """What a measurement has at hand."""

    stack: LocalStack
    directory: Path
    quick: bool
    say: Callable[[str], None]

    @property
    def servers(self) -> str:
        """Where Kafka is."""
        return self.stack.addresses.kafka_bootstrap_servers

    def amount(self, usual: int, quick: int) -> int:
        """Return how many to use."""
        return quick if self.quick else usual


async def worker(bench: Bench) -> list[Row]:
    """Measure our worker and its peers on the same mentions: one process each, the median of three runs."""
    many = bench.amount(40_000, 2_000)
    events = await asyncio.to_thread(raw_events, many)
    await fill(bench.servers, "bench.in", events)
    await fill(bench.servers, Topic.RAW.value, events)
    ours = (sys.executable, "-m", "bench.worker_process")
    peers = {
        "a ours, full enrichment": (ours, Topic.ENRICHED.value, many, {}),
        "b Faust, VADER, py3langid": (_peer("faust_vader"), "bench.b", many // 10, {}),
        "c Quix, VADER, py3langid": (_peer("quix"), "bench.c", many // 4, {"BENCH_WORK": "all"}),
        "d Quix, no work": (_peer("quix"), "bench.d", many, {"BENCH_WORK": "none"}),
        "e bare aiokafka, no work": (_peer("bare"), "bench.e", many, {}),
    }
    if not PEERS.exists():
        bench.say("The peers are not installed (make bench does so): only ours is measured.")
        peers = {name: peer for name, peer in peers.items() if name.startswith("a")}
    medians: dict[str, Rate] = {}
    for name, (argv, out, count, environment) in peers.items():
        if out.startswith("bench."):
            await make(bench.servers, out)
        rates = [await _run(bench, argv, out, count, environment) for _ in range(bench.amount(3, 1))]
        medians[name] = sorted(rates)[len(rates) // 2]
        bench.say(f"  {name}: {', '.join(f'{one.per_second:,.0f}' for one in rates)} a second")
    rows = [
        Row(name, one.per_second, "mentions/s", "", f"peak {one.peak_bytes / _MEGABYTE:,.0f} MB")
        for name, one in medians.items()
    ]
    by_letter = {name[0]: one.per_second for name, one in medians.items()}
    for peer, must in (("b", "≥ 10"), ("c", "≥ 2, aim 4"), ("d", "aim 1"), ("e", "")):
        if peer in by_letter:
            rows.append(Row(f"a / {peer}", by_letter["a"] / by_letter[peer], "times", must))
    return rows


def _peer(name: str) -> tuple[str, ...]:
    return (str(PEERS), f"bench/peers/{name}.py")


async def _run(bench: Bench, argv: tuple[str, ...], out: str, many: int, environment: dict[str, str]) -> Rate:
    group = f"bench-{uuid4()}"
    ours = {
        "BENCH_SERVERS": bench.servers,
        "BENCH_IN": "bench.in",
        "BENCH_OUT": out,
        "BENCH_GROUP": group,
        "BENCH_LOG": str(bench.directory / "bench.log"),
        "KLANKBORD_KAFKA_BOOTSTRAP_SERVERS": bench.servers,
        "KLANKBORD_CONFIG_FILE": str(bench.directory / "klankbord.toml"),
        "KLANKBORD_ENRICH_PORT": "0",
    }
    arguments = (*argv, group) if argv[0] == sys.executable else argv
    return await rate(bench.servers, arguments, out, many, ours | environment)


async def steps(bench: Bench) -> list[Row]:
    """Measure the labelling alone, without Kafka, and each of its steps; batches of 1,000, one core."""
    spent: Counter[str] = Counter()
    enricher = Enricher(parse_brands(CONFIG), timed=lambda step, seconds: spent.update({step: seconds}))
    raws = [RawMention.model_validate_json(event) for event in raw_events(bench.amount(20_000, 2_000))]
    batches = [raws[at : at + 1_000] for at in range(0, len(raws), 1_000)]
    for batch in batches[:2]:
        enricher.enrich_batch(batch)
    tune_memory()  # As the worker does.
    spent.clear()
    begin = time.process_time()
    for batch in batches:
        enricher.enrich_batch(batch)
    seconds = time.process_time() - begin
    rows = [Row("labelling alone", len(raws) / seconds, "mentions/s", "≥ 10,000, aim 20,000")]
    rows += [Row(f"  {step}", each / len(raws) * 1e6, "µs a mention") for step, each in spent.items()]
    return rows


async def ingest(bench: Bench) -> list[Row]:
    """Measure POST /v1/mentions: NDJSON, 5,000 lines a request, four at once; single posts, 32 at once."""
    many = bench.amount(60_000, 5_000)
    lines = [json.dumps(one) for one in mentions(many)]
    bodies = ["\n".join(lines[at : at + 5_000]).encode() for at in range(0, many, 5_000)]
    url = f"{bench.stack.addresses.ingest_url}/v1/mentions"
    limits = httpx.Limits(max_connections=32)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:

        async def post(body: bytes, kind: str) -> None:
            answer = await client.post(url, content=body, headers={"content-type": kind})
            answer.raise_for_status()

        async def all_of(some: list[bytes], kind: str, at_once: int) -> float:
            waiting = iter(some)

            async def one_after_the_other() -> None:
                for body in waiting:
                    await post(body, kind)

            begin = time.perf_counter()
            await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
            return time.perf_counter() - begin

        await post(bodies[0], "application/x-ndjson")
        rates = [many / await all_of(bodies, "application/x-ndjson", 4) for _ in range(bench.amount(3, 1))]
        singles = [line.encode() for line in lines[: bench.amount(4_000, 300)]]
        single = len(singles) / await all_of(singles, "application/json", 32)
    memory = peak(bench.stack.pids["ingest"]) / _MEGABYTE
    return [
        Row("ingest, NDJSON", statistics.median(rates), "mentions/s", "≥ 15,000", f"peak {memory:,.0f} MB"),
        Row("ingest, one a request", single, "mentions/s", "", "the client shares the two cores"),
    ]


async def sink(bench: Bench) -> list[Row]:
    """Measure the metrics service: mentions that wait in mentions.enriched, until all are in ClickHouse."""
    many = bench.amount(200_000, 5_000)
    enricher = Enricher(parse_brands(CONFIG))
    raws = [RawMention.model_validate_json(event) for event in raw_events(many)]
    events: list[bytes] = []
    for at in range(0, many, 1_000):
        labelled = enricher.enrich_batch(raws[at : at + 1_000])
        events += [one.model_dump_json().encode() for one in labelled if one is not None]
    await fill(bench.servers, Topic.ENRICHED.value, events)
    environment = bench.stack.service_environment("metrics")
    argv = (str(Path(sys.executable).with_name("klankbord")), "serve", "metrics")
    with (bench.directory / "sink.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=log, stderr=log)
    first: tuple[float, int] | None = None
    try:
        with closing(connect(bench.stack.settings)) as client:
            while True:
                (row,) = client.query("SELECT count() FROM mentions").result_rows
                now, rows = time.perf_counter(), int(row[0])
                if rows and first is None:
                    first = (now, rows)
                if rows >= many and first is not None:
                    break
                await asyncio.sleep(0.05)
        per_second = (rows - first[1]) / max(now - first[0], 1e-9)
        memory = peak(process.pid) / _MEGABYTE
    finally:
        process.kill()
        await process.wait()
    return [Row("sink", per_second, "rows/s", "≥ 60,000", f"peak {memory:,.0f} MB")]


async def latency(bench: Bench) -> list[Row]:
    """Measure from POST until the API shows it, at 500 mentions a second, by mentions that are looked for."""
    seconds, each = bench.amount(30, 5), 50
    addresses = bench.stack.addresses
    seen: list[float] = []
    begin = time.perf_counter()
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client, asyncio.TaskGroup() as group:

        async def watch(mention_id: str, sent: float) -> None:
            while (await client.get(f"{addresses.api_url}/v1/mentions/{mention_id}")).status_code != 200:
                await asyncio.sleep(0.05)
            seen.append(time.perf_counter() - sent)

        for tick in range(seconds * 10):
            await asyncio.sleep(max(0.0, begin + tick / 10 - time.perf_counter()))
            batch = list(mentions(each, f"latency-{tick}"))
            sent = time.perf_counter()
            answer = await client.post(f"{addresses.ingest_url}/v1/mentions", json=batch)
            answer.raise_for_status()
            # Two a second are looked for: to look for more would be a load of its own.
            if tick % 5 == 0:
                group.create_task(watch(str(Mention.model_validate(batch[-1]).id), sent))
    cuts = statistics.quantiles(seen, n=100)
    return [
        Row("POST to visible, p50", cuts[49], "s", "", f"{len(seen)} of {seconds * 10 * each:,} looked for"),
        Row("POST to visible, p95", cuts[94], "s"),
        Row("POST to visible, p99", cuts[98], "s", "≤ 2"),
    ]


async def api(bench: Bench) -> list[Row]:
    """Measure a daily series over 90 days on ten million generated mentions of 20 brands."""
    many = bench.amount(10_000_000, 100_000)
    with closing(connect(bench.stack.settings, timeout=600)) as client:
        await asyncio.to_thread(_generate, client, many)
    now = datetime.now(UTC)
    period = {"from": (now - timedelta(days=90)).date().isoformat(), "to": now.date().isoformat()}
    times: list[float] = []
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        url = f"{bench.stack.addresses.api_url}/v1/timeseries"
        for number in range(bench.amount(300, 20)):
            parameters = {"metric": "fails", "interval": "day", "brand": f"Brand {number % 20}", **period}
            begin = time.perf_counter()
            answer = await client.get(url, params={**parameters, "tz": "Europe/Amsterdam"})
            times.append(time.perf_counter() - begin)
            answer.raise_for_status()
            assert sum(point["value"] for point in answer.json()["series"][0]["points"]) > 0
    cuts = statistics.quantiles(times, n=100)
    return [
        Row("90 days by day, p50", cuts[49] * 1_000, "ms", "", f"{many:,} mentions"),
        Row("90 days by day, p95", cuts[94] * 1_000, "ms", "≤ 100"),
    ]


def _generate(client: Any, many: int) -> None:
    """Fill mentions, and the hourly counts as the sink would, with SQL alone."""
    columns = (
        "id, version, brand, published_at, received_at, source, external_id, kind, language, stage, "
        "sentiment, sentiment_label, confidence, is_fail, is_question, text"
    )
    client.command(
        _GENERATE.format(columns=columns),
        parameters={"many": many},
        settings={"max_partitions_per_insert_block": 0},
    )
    client.command(_COUNT_HOURS)


_GENERATE = """
INSERT INTO mentions ({columns})
SELECT
    generateUUIDv4(), 1, concat('Brand ', toString(number % 20)),
    now64(3) - toIntervalSecond(rand(1) % 15552000), now64(6),
    arrayElement(['x', 'mail', 'linkedin'], 1 + rand(2) % 3), toString(number), 'post',
    arrayElement(['nl', 'en'], 1 + rand(3) % 2),
    arrayElement(['vacancy', 'silence', 'interview', 'other'], 1 + rand(4) % 4),
    0, 'neutral', 0.5, rand(5) % 4 = 0, rand(6) % 5 = 0, 'x'
FROM numbers({{many:UInt64}})
"""
_COUNT_HOURS = """
INSERT INTO mentions_hourly
    (brand, hour, source, language, stage, mentions, fails, questions, negatives, positives, sentiment_sum,
    version)
SELECT
    brand, toStartOfHour(published_at) AS hour, source, language, stage,
    count(), countIf(is_fail), countIf(is_question), 0, 0, 0, 1
FROM mentions GROUP BY ALL
"""


async def soak(bench: Bench, minutes: float) -> list[Row]:
    """Send as fast as ingest takes it for so many minutes, and watch the memory of each service."""
    end = time.monotonic() + minutes * 60
    held: dict[str, list[tuple[float, int]]] = {name: [] for name in ("ingest", "enrich", "metrics", "api")}
    sent = 0
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        number = 0
        while time.monotonic() < end:
            lines = "\n".join(json.dumps(one) for one in mentions(2_000, f"soak-{number}"))
            answer = await client.post(
                f"{bench.stack.addresses.ingest_url}/v1/mentions",
                content=lines.encode(),
                headers={"content-type": "application/x-ndjson"},
            )
            if answer.status_code == httpx.codes.ACCEPTED:
                sent, number = sent + 2_000, number + 1
            else:
                await asyncio.sleep(0.2)
            for name, some in held.items():
                some.append((time.monotonic(), resident(bench.stack.pids[name])))
    rows = [Row("soak, sent", sent / (minutes * 60), "mentions/s", "", f"{minutes:g} minutes")]
    for name, some in held.items():
        later = [(at, size / _MEGABYTE) for at, size in some[len(some) // 3 :]]
        slope = statistics.linear_regression([at / 60 for at, _ in later], [size for _, size in later]).slope
        rows.append(
            Row(
                f"soak, {name} memory grows", slope, "MB/minute", "flat", f"at the end {later[-1][1]:,.0f} MB"
            )
        )
    return rows
