"""Idempotency-Key: the same answer again, nothing taken again, and clear refusals."""

import asyncio
import json

import httpx
import pytest

from services.ingest import idempotency
from services.ingest.idempotency import KEPT_SECONDS
from shared.settings import Settings
from tests.unit.ingest.test_http import LINES, NOW, Door

MENTION = {"source": "t", "text": "Nog niets gehoord", "published_at": NOW.isoformat()}
OTHER = MENTION | {"text": "Fijn gesprek"}


def line(mention: dict[str, str]) -> bytes:
    return json.dumps(mention).encode() + b"\n"


async def post(door: Door, content: bytes, key: str) -> httpx.Response:
    headers = {"idempotency-key": key, "content-type": LINES}
    return await door.client.post("/v1/mentions", content=content, headers=headers)


async def test_a_request_that_comes_again_gets_the_same_answer_and_is_not_taken_again() -> None:
    door = Door(Settings())
    first = await post(door, line(MENTION) + b"{}\n", "k")
    again = await post(door, line(MENTION) + b"{}\n", "k")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["rejected"]
    assert again.content == first.content
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert len(door.publisher.published) == 1
    assert (await post(door, line(MENTION), "l")).status_code == 202
    assert len(door.publisher.published) == 2


async def test_a_key_belongs_to_one_body() -> None:
    door = Door(Settings())
    await post(door, line(MENTION), "k")
    refused = await post(door, line(OTHER), "k")
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("idempotency-key-reused")
    assert len(door.publisher.published) == 1


async def test_a_request_that_comes_again_is_not_read_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(Settings())
    await post(door, line(MENTION), "k")
    monkeypatch.setattr(idempotency, "MAX_STREAM_BYTES", 100)
    refused = await post(door, line(MENTION) * 2, "k")
    assert (refused.status_code, refused.json()["type"]) == (413, "urn:klankbord:problem:too-large")
    assert refused.json()["detail"] == "A request may have 100 bytes; this one has more."


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_what_is_no_key_is_refused(key: str) -> None:
    response = await post(Door(Settings()), line(MENTION), key)
    assert response.status_code == 422
    assert "1 to 255 printable" in response.json()["detail"]


async def test_while_the_first_is_under_way_the_second_is_to_wait() -> None:
    door = Door(Settings())
    door.publisher.going_on.clear()
    first = asyncio.create_task(post(door, line(MENTION), "k"))
    while not door.publisher.waiting:
        await asyncio.sleep(0)
    second = await post(door, line(MENTION), "k")
    assert (second.status_code, second.headers["retry-after"]) == (409, "1")
    door.publisher.going_on.set()
    assert (await first).status_code == 202
    assert (await post(door, line(MENTION), "k")).headers["idempotent-replayed"] == "true"


async def test_a_request_that_failed_is_taken_when_it_comes_again() -> None:
    door = Door(Settings())
    door.publisher.fail_after = 0
    assert (await post(door, line(MENTION), "k")).status_code == 503
    door.publisher.fail_after = 10
    again = await post(door, line(MENTION), "k")
    assert (again.status_code, "idempotent-replayed" in again.headers) == (202, False)


async def test_keys_are_forgotten_after_a_day_and_beyond_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(Settings())
    monkeypatch.setattr(idempotency, "MAX_KEYS", 2)
    for key in "abc":
        await post(door, line(MENTION), key)
    assert "idempotent-replayed" not in (await post(door, line(MENTION), "a")).headers
    assert "idempotent-replayed" in (await post(door, line(MENTION), "c")).headers
    door.clock.advance(KEPT_SECONDS + 1)
    assert "idempotent-replayed" not in (await post(door, line(MENTION), "c")).headers
