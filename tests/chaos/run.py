"""Runs the real stack under faults and counts: sent, acknowledged, in ClickHouse, twice, dead."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from aiokafka.errors import KafkaError

from deploy.local.stack import LocalStack, StackOptions
from shared.clickhouse import connect, outages
from shared.clock import SystemClock
from shared.dead_letter_box import DeadLetterBox, Wanted
from shared.dead_letters import DeadLetter
from shared.errors import KlankbordError
from shared.kafka import close_producer, new_producer
from shared.topics import Topic
from tests.chaos.schedule import Fault, Strike, schedule
from tests.chaos.workload import SOURCE, batches, poison

BRANDS = '[[brands]]\nname = "Acme Zorg"\n'
TARGETS = ("ingest", "enrich", "enrich-2", "metrics", "clickhouse", "kafka")
SENDERS = 3
BATCH = 200
POST_SECONDS = 30.0
SETTLE_SECONDS = 240.0
"""How long after the last fault everything may take to arrive."""
_LETTERS = 500


@dataclass(frozen=True)
class Plan:
    """What to do."""

    seed: int
    mentions: int
    seconds: float
    """For so long, faults happen; sending goes on until all is acknowledged."""


Dead = tuple[bytes, str]
"""How a message that is put aside begins, and why it is."""


@dataclass
class Result:
    """What came of it."""

    plan: Plan
    sent: int = 0
    """Mentions in all requests, those sent again among them."""
    acknowledged: set[str] = field(default_factory=set)
    refused: int = 0
    """Requests that got no 202 and were sent again."""
    strikes: Counter[str] = field(default_factory=Counter)
    poisoned: set[Dead] = field(default_factory=set)
    """What was written straight into mentions.raw, and why it must be put aside."""
    stored: Counter[str] = field(default_factory=Counter)
    """How often each mention is in ClickHouse."""
    counted: int = 0
    """Mentions in the hourly rollup."""
    dead: set[Dead] = field(default_factory=set)
    """What was put aside, and why; once also where a crash between had it put aside twice."""
    seconds: float = 0.0

    @property
    def missing(self) -> list[str]:
        """Mentions that were acknowledged and are not there."""
        return sorted(self.acknowledged - self.stored.keys())

    @property
    def twice(self) -> list[str]:
        """Mentions that are there more than once."""
        return sorted(name for name, times in self.stored.items() if times > 1)

    @property
    def passed(self) -> bool:
        """Whether each acknowledged mention is there once, counted once, and poison is put aside as meant."""
        return (
            not self.missing
            and not self.twice
            and len(self.acknowledged) == self.plan.mentions
            and self.counted == len(self.stored)
            and self.dead == self.poisoned
        )

    def lines(self) -> list[str]:
        """Return what a person wants to know."""
        strikes = ", ".join(f"{name} {times}" for name, times in sorted(self.strikes.items()))
        reasons = sorted(Counter(reason for _, reason in self.dead).items())
        dead = ", ".join(f"{reason} {times}" for reason, times in reasons) or "none"
        wrong = [f"{reason} {beginning[:40]!r}" for beginning, reason in sorted(self.dead ^ self.poisoned)]
        lines = [
            f"seed {self.plan.seed}, {self.seconds:,.0f} s, faults: {strikes or 'none'}",
            f"sent          {self.sent:>9,}   (requests without a 202, sent again: {self.refused:,})",
            f"acknowledged  {len(self.acknowledged):>9,}   of {self.plan.mentions:,} mentions",
            f"in ClickHouse {len(self.stored):>9,}   in the hourly counts: {self.counted:,}",
            f"twice         {len(self.twice):>9,}",
            f"missing       {len(self.missing):>9,}   {', '.join(self.missing[:10])}",
            f"dead          {len(self.dead):>9,}   of {len(self.poisoned):,} poisoned messages: {dead}",
            *(["not as meant: " + ", ".join(wrong)] if wrong else []),
            "PASS" if self.passed else "FAIL",
        ]
        return [line.rstrip() for line in lines]


async def run(plan: Plan, directory: Path, say: Any) -> Result:
    """Run the plan with data in `directory`; `say` gets a line for each thing that happens."""
    config = directory / "klankbord.toml"
    config.write_text(BRANDS, encoding="utf-8")
    options = StackOptions(
        data_dir=directory / "data", config_file=config, usual_ports=False, enrich_workers=2
    )
    stack = LocalStack(options, lambda message, **_: say(message))
    result, begin = Result(plan), time.monotonic()
    try:
        await stack.start()
        faults = asyncio.create_task(_strike(stack, plan, result, say))
        work = iter(batches(plan.seed, plan.mentions, BATCH, datetime.now(UTC)))
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(_send(stack, work, result))
            group.create_task(_poison(stack, plan, result))
        say(f"all {len(result.acknowledged):,} acknowledged")
        await faults
        await _settle(stack, result)
    finally:
        result.seconds = time.monotonic() - begin
        await stack.stop()
    return result


async def _strike(stack: LocalStack, plan: Plan, result: Result, say: Any) -> None:
    begin = time.monotonic()
    for strike in schedule(plan.seed, plan.seconds, TARGETS):
        await asyncio.sleep(max(0.0, begin + strike.at - time.monotonic()))
        pid = stack.pids.get(strike.target)
        if pid is None:
            say(f"{strike.target} is down already")
            continue
        say(f"{strike.fault} {strike.target}" + (f" for {strike.lasts} s" if strike.lasts else ""))
        result.strikes[f"{strike.fault} {strike.target}"] += 1
        await _do(strike, pid)


async def _do(strike: Strike, pid: int) -> None:
    match strike.fault:
        case Fault.KILL:
            os.kill(pid, signal.SIGKILL)
        case Fault.RESTART:
            os.kill(pid, signal.SIGTERM)
        case Fault.FREEZE:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(strike.lasts)
            finally:
                os.kill(pid, signal.SIGCONT)


async def _send(stack: LocalStack, work: Iterator[list[dict[str, Any]]], result: Result) -> None:
    """Send batches until there are none; what gets no 202 is sent again until it does."""
    begin = time.monotonic()
    async with httpx.AsyncClient(trust_env=False, timeout=POST_SECONDS) as client:
        for batch in work:
            # Spread over the time of the faults, so that each meets mentions on their way.
            due = len(result.acknowledged) / result.plan.mentions * result.plan.seconds
            await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
            body = "\n".join(map(json.dumps, batch)).encode()
            while not await _post(client, stack, body, batch, result):
                result.refused += 1
                await asyncio.sleep(0.3)


async def _post(
    client: httpx.AsyncClient, stack: LocalStack, body: bytes, batch: list[dict[str, Any]], result: Result
) -> bool:
    result.sent += len(batch)
    try:
        url = f"{stack.addresses.ingest_url}/v1/mentions"
        answer = await client.post(url, content=body, headers={"content-type": "application/x-ndjson"})
    except httpx.TransportError:
        return False
    if answer.status_code != httpx.codes.ACCEPTED:
        return False
    said = answer.json()
    if said["accepted"] != len(batch):
        raise AssertionError(f"ingest refused a good mention: {said['rejected'][:3]}")
    result.acknowledged.update(mention["external_id"] for mention in batch)
    return True


async def _poison(stack: LocalStack, plan: Plan, result: Result) -> None:
    """Write poison straight into mentions.raw, spread over the run."""
    messages = poison(plan.seed)
    for number, (message, reason) in enumerate(messages):
        await asyncio.sleep(plan.seconds / (len(messages) + 1))
        while not await _write(stack, message, number):
            await asyncio.sleep(0.5)
        result.poisoned.add(_dead(message, reason))


async def _write(stack: LocalStack, message: bytes, number: int) -> bool:
    producer = new_producer(stack.settings)
    try:
        async with asyncio.timeout(POST_SECONDS):
            await producer.start()
            await producer.send_and_wait(
                Topic.RAW.value, message, partition=number % stack.settings.kafka_partitions
            )
    except (KafkaError, OSError, TimeoutError):
        # It may have arrived all the same, and then is there twice: letters are told apart by their text.
        return False
    finally:
        await close_producer(producer, 5.0)
    return True


async def _settle(stack: LocalStack, result: Result) -> None:
    """Wait until all is there, for a bounded time; then count."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            result.stored, result.counted = await asyncio.to_thread(_stored, stack)
            result.dead = {_dead(letter.value, letter.reason) async for letter in _letters(stack)}
        except KlankbordError:
            # It is still being started again.
            pass
        if result.passed or time.monotonic() > deadline:
            return
        await asyncio.sleep(1.0)


def _stored(stack: LocalStack) -> tuple[Counter[str], int]:
    with closing(connect(stack.settings)) as client, outages():
        # Without FINAL a mention may have several rows until they are merged: the API reads with it.
        rows = client.query(
            "SELECT external_id FROM mentions FINAL WHERE source = {source:String}", {"source": SOURCE}
        ).result_rows
        ((counted,),) = client.query(
            "SELECT sum(mentions) FROM mentions_hourly FINAL WHERE source = {source:String}",
            {"source": SOURCE},
        ).result_rows
    return Counter(row[0] for row in rows), int(counted)


async def _letters(stack: LocalStack) -> AsyncIterator[DeadLetter]:
    box, below = DeadLetterBox(stack.settings, SystemClock()), None
    while True:
        page = await box.page(Wanted(), _LETTERS, below)
        for letter in page.letters:
            yield letter
        if page.next is None:
            return
        below = page.next


def _dead(value: bytes, reason: str) -> Dead:
    return value[:1_000], str(reason)
