"""What app.py wires: feeds run beside HTTP, and their crash stays theirs."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from stamina import AsyncRetryingCaller

from services.ingest import app as ingest
from shared.brands import parse_brands
from shared.clock import SystemClock
from shared.errors import DependencyUnavailable
from shared.settings import Settings

BOOK = parse_brands('[[feeds]]\nurl = "https://example.org/feed.xml"')


class Recorder:
    """Stands for the publisher, the checkpoint store and the poller at once."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.calls: list[str] = []
        self.polling = asyncio.Event()

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    async def run(self) -> None:
        self.calls.append("run")
        if self.failures:
            raise self.failures.pop(0)
        self.polling.set()
        await asyncio.Event().wait()


@pytest.fixture
def publisher() -> Recorder:
    return Recorder([])


async def test_feeds_that_crash_are_tried_again(monkeypatch: pytest.MonkeyPatch, publisher: Recorder) -> None:
    feeds = Recorder([ValueError("a bug"), DependencyUnavailable("Kafka", "away")])
    given: dict[str, Any] = {}

    def new_poller(**arguments: Any) -> Recorder:
        given.update(arguments)
        return feeds

    monkeypatch.setattr(ingest, "FeedPoller", new_poller)
    monkeypatch.setattr(ingest, "CheckpointStore", lambda _settings: feeds)
    at_once = AsyncRetryingCaller(attempts=None, timeout=None, wait_initial=0.0, wait_jitter=0.0)
    monkeypatch.setattr(ingest, "_RETRY", at_once)
    clock = SystemClock()
    async with ingest._lifespan(Settings(), BOOK, publisher, clock)(FastAPI()):  # type: ignore[arg-type]
        assert publisher.calls == ["start"]
        async with asyncio.timeout(5):
            await feeds.polling.wait()
    assert feeds.calls == ["start", "run", "stop"] * 3
    assert publisher.calls == ["start", "stop"]
    assert given["feeds"] == BOOK.all_feeds()
    assert given["publisher"] is publisher
    assert given["checkpoints"] is feeds
    assert given["clock"] is clock


@pytest.mark.parametrize(
    ("settings", "book"), [(Settings(feeds_enabled=False), BOOK), (Settings(), parse_brands(""))]
)
async def test_without_feeds_none_are_polled(
    monkeypatch: pytest.MonkeyPatch, publisher: Recorder, settings: Settings, book: Any
) -> None:
    monkeypatch.delattr(ingest, "FeedPoller")
    before = len(asyncio.all_tasks())
    async with ingest._lifespan(settings, book, publisher, SystemClock())(FastAPI()):  # type: ignore[arg-type]
        assert len(asyncio.all_tasks()) == before
    assert publisher.calls == ["start", "stop"]
