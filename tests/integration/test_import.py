"""`klankbord import` against a real ingest on a real Kafka: what is in the file is in the topic, exactly."""

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from fastapi import FastAPI

from services.ingest.budget import Budget
from services.ingest.http import create_app
from services.ingest.importer import ImportOptions, run_import
from services.ingest.publish import Publisher
from shared.clock import SystemClock
from shared.settings import Settings
from shared.telemetry import QuietServer, listen
from tests.integration.test_feeds import new_raw_mentions, take

pytestmark = pytest.mark.io
SECONDS = 60.0


@asynccontextmanager
async def running_ingest(settings: Settings, port: int = 0) -> AsyncIterator[str]:
    """Serve ingest on `port` of this machine, ready; yield its address."""
    budget = Budget(settings.ingest_max_inflight_bytes)
    publisher = Publisher(settings, SystemClock(), budget)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await publisher.start()
        yield
        await publisher.stop()

    app = create_app(settings, publisher, SystemClock(), budget, lifespan)
    server = QuietServer(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=2))
    with listen("127.0.0.1", port) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(SECONDS):
                while not server.started or await publisher.waiting_for():
                    await asyncio.sleep(0.02)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def test_a_dutch_excel_file_arrives_with_what_was_wrong_in_it_told(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    source = f"excel-{uuid4()}"
    file = tmp_path / "beoordelingen.csv"
    with file.open("w", encoding="cp1252", newline="") as text:
        rows = csv.writer(text, delimiter=";")
        rows.writerow(["Nr", "Datum", "Reactie", "Cijfer", "Afdeling"])
        rows.writerow(["1", "29-03-2026 10:00", "Geen reactie;\nal 3 weken € wachten", "4,5", "Zorg"])
        rows.writerow(["2", "29-03-2026 10:01", "Café", "9", ""])
        rows.writerow(["3", "30-02-2026 10:02", "Onmogelijke datum", "", ""])
    options = ImportOptions(
        file,
        mapping=("Nr=external_id", "Reactie=text", "Cijfer=rating"),
        assignments=(f"source={source}", "kind=review", "rating_scale=5"),
        timezone="Europe/Amsterdam",
        date_format="%d-%m-%Y %H:%M",
        encoding="cp1252",
    )

    async with new_raw_mentions(kafka_settings) as raw, running_ingest(kafka_settings) as url:
        options = ImportOptions(**{**vars(options), "ingest_url": url})
        assert await asyncio.to_thread(run_import, options) == 0
        (mention,) = await take(raw, source)

    assert (mention.external_id, mention.rating, mention.kind) == ("1", 4.5, "review")
    assert mention.text == "Geen reactie;\nal 3 weken € wachten"
    assert mention.published_at.isoformat() == "2026-03-29T08:00:00+00:00"
    assert mention.metadata == {"Afdeling": "Zorg"}
    rejected = [
        json.loads(line) for line in (tmp_path / "beoordelingen.csv.rejected.jsonl").read_text().splitlines()
    ]
    assert [(row["line"], row["field"], row["code"]) for row in rejected] == [
        (4, "rating", "invalid"),
        (5, "published_at", "invalid"),
    ]
    assert rejected[0]["row"]["Reactie"] == "Café"


async def test_a_file_of_which_nothing_is_accepted_is_a_failure(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("source,text,published_at\nx,,2026-03-29T10:00:00Z\n")

    async with running_ingest(kafka_settings) as url:
        assert await asyncio.to_thread(run_import, ImportOptions(file, ingest_url=url)) == 1


async def test_killed_or_interrupted_it_goes_on_and_no_row_is_lost(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    source = f"killed-{uuid4()}"
    rows = 30_000
    file = tmp_path / "many.jsonl"
    with file.open("w") as text:
        for n in range(rows):
            mention = {"source": source, "external_id": str(n), "published_at": "2026-03-29T10:00:00Z"}
            text.write(json.dumps(mention if n % 1_000 == 0 else {**mention, "text": f"tekst {n}"}) + "\n")
    state = tmp_path / "many.jsonl.import-state.json"

    async with new_raw_mentions(kafka_settings) as raw, running_ingest(kafka_settings) as url:
        for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (None, 0)):
            before = _rows(state)
            process = _start_import(file, url, tmp_path)
            try:
                if end is not None:
                    await _until_past(state, before, process)
                    process.send_signal(end)
                assert await asyncio.to_thread(process.wait, SECONDS) == code
            finally:
                process.kill()
                process.wait()
        arrived = Counter(mention.external_id for mention in await take(raw, source))

    assert set(arrived) == {str(n) for n in range(rows) if n % 1_000}
    assert sum(arrived.values()) < 2 * rows
    rejected = [
        json.loads(line)["line"] for line in (tmp_path / "many.jsonl.rejected.jsonl").read_text().splitlines()
    ]
    assert rejected == [n + 1 for n in range(0, rows, 1_000)]
    assert not state.exists()


async def test_it_waits_for_an_ingest_that_comes_back(kafka_settings: Settings, tmp_path: Path) -> None:
    source = f"away-{uuid4()}"
    file = tmp_path / "one.jsonl"
    mention = {"source": source, "text": "hoi", "published_at": "2026-03-29T10:00:00Z"}
    file.write_text(json.dumps(mention))
    async with running_ingest(kafka_settings) as url:
        port = int(url.rsplit(":", 1)[1])

    process = _start_import(file, url, tmp_path, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        told = ""
        async with asyncio.timeout(SECONDS):
            while "does not answer" not in told:
                told += (await asyncio.to_thread(process.stderr.readline)).decode()
        async with new_raw_mentions(kafka_settings) as raw, running_ingest(kafka_settings, port):
            assert await asyncio.to_thread(process.wait, SECONDS) == 0
            assert [m.text for m in await take(raw, source)] == ["hoi"]
    finally:
        process.kill()
        process.communicate()


def _start_import(file: Path, url: str, folder: Path, stderr: int | None = None) -> subprocess.Popen[bytes]:
    # A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from klankbord.cli import main; main()"
    command = [sys.executable, "-c", code, "import", str(file)]
    return subprocess.Popen([*command, "--ingest-url", url], cwd=folder, env=os.environ, stderr=stderr)


def _rejected(file: Path) -> list[dict[str, Any]]:
    lines = file.with_name(f"{file.name}.rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _rows(state: Path) -> int:
    try:
        return int(json.loads(state.read_text())["rows"])
    except FileNotFoundError:
        return 0


async def _until_past(state: Path, rows: int, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(SECONDS):
        while _rows(state) <= rows:
            assert process.poll() is None, "the import ended before it was interrupted"
            await asyncio.sleep(0.005)
