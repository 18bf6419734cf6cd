"""From HTTP and file to exact figures in the API, also after everything was stopped and started again."""

import asyncio
import csv
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import ConsumerRecord

from shared.clock import SystemClock
from shared.dead_letter_box import DeadLetterBox, Wanted
from shared.dead_letters import DeadReason, bury
from shared.events import RawMention, parse_mention
from shared.kafka import new_producer
from shared.topics import Topic
from tests.conftest import RunningStack
from tests.integration.waiting import until

pytestmark = pytest.mark.io

FAIL = "#fail: drie weken geleden gesolliciteerd en nog steeds niks gehoord"
QUESTION = "Hoe lang duurt de sollicitatieprocedure bij jullie?"
PRAISE = "Wat een fijn gesprek gehad, heel leuk en prettig team!"
PERIOD = {"from": "2026-03-28", "to": "2026-03-31", "tz": "Europe/Amsterdam", "interval": "day"}


def mention(number: int, text: str, at: str, **more: Any) -> dict[str, Any]:
    return {
        "source": "e2e",
        "external_id": str(number),
        "brand": "E2E",
        "text": text,
        "published_at": at,
    } | more


# 29 March 2026 is the day of 23 hours: 00:30 in Amsterdam is 23:30 UTC of the day before.
BY_HTTP = [
    mention(1, FAIL, "2026-03-29T00:30:00+01:00"),
    mention(2, FAIL, "2026-03-29T23:30:00+02:00"),
    mention(3, QUESTION, "2026-03-29T12:00:00+02:00"),
    mention(4, PRAISE, "2026-03-30T00:10:00+02:00"),
    mention(5, PRAISE, "2026-03-28T23:59:59+01:00"),
]
BY_FILE = [
    mention(6, FAIL, "2026-03-30T09:00:00+02:00"),
    mention(7, QUESTION, "2026-03-30T10:00:00+02:00"),
    mention(8, PRAISE, "2026-03-30T11:00:00+02:00"),
]


async def series(stack: RunningStack, metric: str, **parameters: Any) -> list[float | None]:
    """Return the values of the only series of `metric`, Saturday to Monday."""
    async with httpx.AsyncClient(base_url=stack.api_url, trust_env=False) as client:
        answer = await client.get(
            "/v1/timeseries", params={"metric": metric, "brand": "E2E", **PERIOD, **parameters}
        )
    assert answer.status_code == 200, answer.text
    (only,) = answer.json()["series"]
    return [point["value"] for point in only["points"]]


def becomes(
    stack: RunningStack, metric: str, expected: list[float], **parameters: Any
) -> Callable[[], Awaitable[bool]]:
    async def is_it() -> bool:
        return await series(stack, metric, **parameters) == expected

    return is_it


async def nothing() -> None:
    """Leave the processor to the services for a moment."""
    await asyncio.sleep(0.1)


async def post(stack: RunningStack, mentions: list[dict[str, Any]]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=stack.ingest_url, trust_env=False) as client:
        answer = await client.post("/v1/mentions", json=mentions)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def run_import(stack: RunningStack, file: Path, *arguments: str) -> str:
    """Run `klankbord import` as a user does; return what it printed."""
    finished = run_klankbord(stack, "import", str(file), "--ingest-url", stack.ingest_url, *arguments)
    return finished.stdout + finished.stderr


def run_klankbord(stack: RunningStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, on the Kafka of `stack`; fail when it fails."""
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("klankbord")), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"KLANKBORD_KAFKA_BOOTSTRAP_SERVERS": stack.settings.kafka_bootstrap_servers},
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


async def expect_figures(stack: RunningStack) -> None:
    """Check what BY_HTTP and BY_FILE come to, per Amsterdam day."""
    assert await series(stack, "mentions") == [1, 3, 4]
    assert await series(stack, "fails") == [0, 2, 1]
    assert await series(stack, "questions") == [0, 1, 1]
    assert await series(stack, "fail_rate") == [0, pytest.approx(2 / 3), 0.25]
    assert await series(stack, "mentions", source="elsewhere") == [0, 0, 0]


async def test_exact_figures_by_http_and_file_before_and_after_a_restart(
    stack: RunningStack, tmp_path: Path
) -> None:
    answer = await post(stack, BY_HTTP)
    assert answer["accepted"] == 5 and answer["rejected"] == [] and len(set(answer["ids"])) == 5

    file = tmp_path / "mentions.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=["Bericht", "brand", "external_id", "published_at", "team"])
        writer.writeheader()
        for m in BY_FILE:
            row = {key: m[key] for key in ("brand", "external_id", "published_at")}
            writer.writerow(row | {"Bericht": m["text"], "team": "north"})
    run_import(stack, file, "--map", "Bericht=text", "--set", "source=e2e")
    await until(becomes(stack, "mentions", [1, 3, 4]), nothing)
    await expect_figures(stack)

    # The same again, in the other way each: nothing may change.
    lines = tmp_path / "again.jsonl"
    lines.write_text("".join(json.dumps(m) + "\n" for m in BY_HTTP))
    run_import(stack, lines)
    marker = mention(9, PRAISE, "2026-03-28T12:00:00+01:00")
    await post(stack, [*BY_FILE, marker])
    await until(becomes(stack, "mentions", [2, 3, 4]), nothing)
    assert await series(stack, "fails") == [0, 2, 1]

    # An edit replaces: the marker leaves the period, and mention 1 is no #fail any more, and a day earlier.
    await post(stack, [marker | {"published_at": "2026-02-01T12:00:00+01:00"}])
    await post(stack, [BY_HTTP[0] | {"text": PRAISE, "published_at": "2026-03-28T10:00:00+01:00"}])
    await until(becomes(stack, "mentions", [2, 2, 4]), nothing)
    assert await series(stack, "fails") == [0, 1, 1]
    await post(stack, [BY_HTTP[0]])
    await until(becomes(stack, "mentions", [1, 3, 4]), nothing)
    await expect_figures(stack)

    await stack.restart()
    await expect_figures(stack)
    await post(stack, [mention(10, FAIL, "2026-03-28T08:00:00+01:00")])
    await until(becomes(stack, "fails", [1, 2, 1]), nothing)
    assert await series(stack, "mentions") == [2, 3, 4]


async def test_a_mention_that_names_no_brand_is_matched_by_terms(stack: RunningStack) -> None:
    sent = await post(
        stack,
        [
            {
                "source": "match",
                "external_id": "1",
                "text": "Iemand ervaring met Acme Zorg?",
                "published_at": "2026-03-01T10:00:00Z",
            },
            {
                "source": "match",
                "external_id": "2",
                "text": "Mooi weer vandaag",
                "published_at": "2026-03-01T10:00:00Z",
            },
            {
                "source": "match",
                "external_id": "3",
                "text": "Beta Bouw zoekt mensen",
                "published_at": "2026-03-01T10:00:00Z",
            },
        ],
    )
    found: dict[str, str] = {}

    async def look() -> None:
        async with httpx.AsyncClient(base_url=stack.api_url, trust_env=False) as client:
            answer = await client.get("/v1/mentions", params={"source": "match"})
        found.update({m["external_id"]: m["brand"] for m in answer.json()["mentions"]})

    await until(lambda: len(found) == 2, look)
    assert found == {"1": "Acme Zorg", "3": "Beta Bouw"}
    async with httpx.AsyncClient(base_url=stack.api_url, trust_env=False) as client:
        assert (await client.get(f"/v1/mentions/{sent['ids'][1]}")).status_code == 404
        one = (await client.get(f"/v1/mentions/{sent['ids'][0]}")).json()
    assert one["is_question"] is True and one["language"] == "nl"


async def test_a_dead_letter_that_is_sent_again_gets_in_once(stack: RunningStack) -> None:
    letter = await put_aside(stack, mention(1, FAIL, "2026-03-28T12:00:00+01:00", brand="Dode Brieven"))

    async def counted_after(*arguments: str, marker: int) -> str:
        """Run `klankbord dead replay`, then send a mention that comes behind it; return what was said."""
        replay = ("dead", "replay", str(letter), *arguments)
        said = await asyncio.to_thread(run_klankbord, stack, *replay)
        await post(stack, [mention(marker, PRAISE, "2026-03-30T12:00:00+02:00", brand="Dode Brieven")])
        return said.stdout

    assert await counted_after(marker=2) == "sent again: 1\n"
    await until(becomes(stack, "mentions", [1, 0, 1], brand="Dode Brieven"), nothing)
    assert "left alone: 1" in await counted_after(marker=3)
    await until(becomes(stack, "mentions", [1, 0, 2], brand="Dode Brieven"), nothing)
    # On purpose, and it is there already: stored anew, counted once.
    assert "sent again: 1" in await counted_after("--again", marker=4)
    await until(becomes(stack, "mentions", [1, 0, 3], brand="Dode Brieven"), nothing)
    assert await series(stack, "fails", brand="Dode Brieven") == [1, 0, 0]


async def put_aside(stack: RunningStack, given: dict[str, Any]) -> int:
    """Put a good mention aside, as a worker with a mistake of its own would; return its letter's number."""
    now = datetime.now(UTC)
    event = RawMention.of(parse_mention(json.dumps(given), now), now)
    value = event.model_dump_json().encode()
    record = ConsumerRecord(
        Topic.RAW.value, 0, 0, 0, 0, event.key, value, None, len(event.key), len(value), ()
    )
    producer = new_producer(stack.settings)
    await producer.start()
    try:
        await bury(producer, record, DeadReason.ENRICHMENT_ERROR, "a mistake, mended since", "enrich")
    finally:
        await producer.stop()
    box = DeadLetterBox(stack.settings, SystemClock())
    (newest,) = (await box.page(Wanted(), 1)).letters
    assert newest.value == value
    return newest.number
