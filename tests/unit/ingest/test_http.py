"""POST /v1/mentions without Kafka: what is taken, what is refused, and how that is said."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.ingest import http as front_door
from services.ingest.budget import Budget
from services.ingest.http import create_app
from shared.clock import ManualClock
from shared.correction_events import CorrectedLabel, Value
from shared.errors import DependencyUnavailable
from shared.events import MAX_MENTION_BYTES, Mention, parse_mention
from shared.settings import Settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LINES = "application/x-ndjson"


class MemoryPublisher:
    """Keeps what is published; can be told to fail, or to hold on."""

    def __init__(self) -> None:
        self.published: list[Mention] = []
        self.batches: list[int] = []
        self.corrected: list[tuple[UUID, dict[CorrectedLabel, Value], str]] = []
        self.fail_after = 10**9
        self.waiting = 0
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.missing: dict[str, str] = {}

    async def publish(self, mentions: Sequence[Mention], via: str) -> None:
        assert via == "http"
        self.waiting += 1
        await self.going_on.wait()
        self.waiting -= 1
        if len(self.published) + len(mentions) > self.fail_after:
            raise DependencyUnavailable("Kafka", "gone")
        self.published.extend(mentions)
        self.batches.append(len(mentions))

    async def correct(self, mention_id: UUID, labels: Mapping[CorrectedLabel, Value], by: str) -> None:
        if self.fail_after == 0:
            raise DependencyUnavailable("Kafka", "gone")
        self.corrected.append((mention_id, dict(labels), by))

    async def waiting_for(self) -> Mapping[str, str]:
        return self.missing


class Door:
    """The application, its publisher, and a client in the same process."""

    def __init__(self, settings: Settings) -> None:
        self.publisher = MemoryPublisher()
        self.budget = Budget(settings.ingest_max_inflight_bytes)
        self.clock = ManualClock(NOW)
        app = create_app(settings, self.publisher, self.clock, self.budget)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest")

    async def post(self, content: Any, content_type: str | None = LINES, **headers: str) -> httpx.Response:
        if content_type is not None:
            headers["content-type"] = content_type
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/v1/mentions", content=content, headers=sent)

    @property
    def texts(self) -> list[str]:
        return [mention.text for mention in self.publisher.published]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door(Settings(ingest_max_lines=2_000, ingest_max_body_bytes=200_000))
    async with made.client:
        yield made
    assert made.budget.used == 0


def mention(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "source": "test",
        "external_id": f"m{number}",
        "text": f"text {number}",
        "published_at": "2026-11-20T10:00:00+01:00",
    } | fields


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = response.json()
    assert (response.status_code, content["status"]) == (status, status)
    assert content["type"] == f"urn:klankbord:problem:{slug}"
    assert content["title"]
    assert content["detail"]
    return content


def id_of(item: dict[str, Any]) -> str:
    return str(parse_mention(item, NOW).id)


# One object, an array.


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=UTF-8", 'Application/JSON;charset="utf8"', None],
)
async def test_one_object_is_accepted(door: Door, content_type: str | None) -> None:
    response = await door.post(json.dumps(mention()), content_type)
    assert response.status_code == 202
    assert response.json() == {"accepted": 1, "rejected": [], "ids": [id_of(mention())]}
    assert door.texts == ["text 1"]


async def test_an_array_keeps_the_valid_and_lists_the_others(door: Door) -> None:
    wrong = mention(2)
    del wrong["published_at"]
    items = [mention(1), wrong, "{}", 3, None, mention(6, tekst="x"), mention(7)]
    response = await door.post(json.dumps(items), "application/json")
    assert response.status_code == 202
    content = response.json()
    assert content["accepted"] == 2
    assert content["ids"] == [id_of(mention(1)), id_of(mention(7))]
    assert [(one["index"], one["field"], one["code"]) for one in content["rejected"]] == [
        (1, "published_at", "missing"),
        (2, "", "not_an_object"),
        (3, "", "not_an_object"),
        (4, "", "not_an_object"),
        (5, "tekst", "unknown_field"),
    ]
    assert content["rejected"][0] == {
        "index": 1,
        "field": "published_at",
        "code": "missing",
        "reason": "is required",
    }
    assert door.texts == ["text 1", "text 7"]


async def test_an_array_larger_than_a_batch_keeps_order_and_indexes(door: Door) -> None:
    items = [mention(n) for n in range(1_200)]
    items[700] = {}
    response = await door.post(json.dumps(items), "application/json")
    content = response.json()
    assert content["accepted"] == 1_199
    assert [one["index"] for one in content["rejected"]] == [700]
    assert door.texts == [f"text {n}" for n in range(1_200) if n != 700]
    assert content["ids"] == [id_of(item) for item in items if item]


async def test_when_nothing_is_accepted_it_is_422_with_the_same_list(door: Door) -> None:
    response = await door.post(json.dumps([{}, mention(1, published_at="gisteren")]), "application/json")
    content = problem(response, 422, "no-mention-accepted")
    assert [(one["index"], one["field"], one["code"]) for one in content["errors"]] == [
        (0, "source", "missing"),
        (1, "published_at", "invalid"),
    ]
    assert content["detail"] == "All 2 are refused. The first (index 0): source is required."
    assert set(content) == {"type", "title", "status", "detail", "errors"}
    assert door.texts == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"source": ', "line 1 column 11"),
        (b'[{"source": "x"},\n}', "line 2 column 1"),
        (b"hello", "line 1 column 1"),
        (b"[" * 500 + b"]" * 500, "recursion limit"),
        (b'["\xff"]', "line 1 column"),
    ],
)
async def test_what_is_not_json_is_422_and_says_where(door: Door, body: bytes, where: str) -> None:
    response = await door.post(body, "application/json")
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["index"], error["field"], error["code"]) == (0, "", "not_json")
    assert where in error["reason"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b" \n ", "application/json"),
        (b"[]", "application/json"),
        (b"", LINES),
        (b"\n\n \r\n", LINES),
        (b"", None),
    ],
)
async def test_a_request_without_mentions_is_422(door: Door, body: bytes, content_type: str | None) -> None:
    content = problem(await door.post(body, content_type), 422, "no-mentions")
    assert content["errors"] == []


async def test_one_lone_surrogate_does_not_spoil_an_array(door: Door) -> None:
    body = json.dumps([mention(1), mention(2, text="half an emoji \ud83d")])
    response = await door.post(body, "application/json")
    assert response.json()["accepted"] == 2
    assert door.texts == ["text 1", "half an emoji \ufffd"]


async def test_a_byte_order_mark_is_passed_over(door: Door) -> None:
    mark = b"\xef\xbb\xbf"
    assert (await door.post(mark + lines(mention(1)), LINES)).json()["accepted"] == 1
    assert (await door.post(mark + json.dumps(mention(2)).encode(), "application/json")).json()[
        "accepted"
    ] == 1


async def test_a_number_that_is_not_one_never_reaches_kafka_as_such(door: Door) -> None:
    body = (
        json.dumps(mention(metadata={"a": float("nan")})) + "\n" + json.dumps(mention(2, rating=float("nan")))
    )
    response = await door.post(body, LINES)
    assert response.json()["accepted"] == 1
    assert [(one["line"], one["field"]) for one in response.json()["rejected"]] == [(2, "rating")]


async def test_too_large_a_body_is_413(door: Door) -> None:
    items = json.dumps([mention(n, text="x" * 5_000) for n in range(60)])
    problem(await door.post(items, "application/json"), 413, "too-large")
    assert door.texts == []


async def test_too_large_a_body_is_413_also_when_its_length_is_not_told(door: Door) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"["
        for n in range(60):
            yield json.dumps(mention(n, text="x" * 5_000)).encode() + b","

    problem(await door.post(pieces(), "application/json"), 413, "too-large")


async def test_an_array_of_more_items_than_lines_are_taken_is_413(door: Door) -> None:
    content = problem(await door.post("[" + "0," * 2_000 + "0]", "application/json"), 413, "too-large")
    assert "2,001 items" in content["detail"]


# NDJSON.


@pytest.mark.parametrize("content_type", [LINES, "application/ndjson", "application/jsonl"])
async def test_lines_are_accepted_without_ids(door: Door, content_type: str) -> None:
    response = await door.post(lines(mention(1), mention(2)), content_type)
    assert response.status_code == 202
    assert response.json() == {"accepted": 2, "rejected": []}
    assert door.texts == ["text 1", "text 2"]


async def test_line_numbers_count_blank_lines(door: Door) -> None:
    body = b"\n" + lines(mention(1)) + b"\r\n" + b"oops\n" + b"   \n" + lines({"source": "x"}) + b"[]"
    response = await door.post(body)
    assert [(one["line"], one["field"], one["code"]) for one in response.json()["rejected"]] == [
        (4, "", "not_json"),
        (6, "text", "missing"),
        (7, "", "not_an_object"),
    ]
    assert response.json()["accepted"] == 1


async def test_the_last_line_needs_no_line_end(door: Door) -> None:
    response = await door.post(lines(mention(1), mention(2)).rstrip(b"\n"))
    assert response.json()["accepted"] == 2


@pytest.mark.parametrize("size", [1, 7, 1_000, 100_000])
async def test_how_the_body_is_cut_in_pieces_makes_no_difference(door: Door, size: int) -> None:
    body = lines(*(mention(n) for n in range(40)), "x", mention(41))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    response = await door.post(pieces())
    assert response.json()["accepted"] == 41
    assert [one["line"] for one in response.json()["rejected"]] == [41]
    assert door.texts == [f"text {n}" for n in [*range(40), 41]]


async def test_an_overlong_line_is_refused_and_the_next_is_taken(door: Door) -> None:
    long = json.dumps(mention(1, text="x" * MAX_MENTION_BYTES)).encode() + b"\n"
    response = await door.post(long + lines(mention(2)) + long.rstrip(b"\n"))
    assert response.json()["accepted"] == 1
    assert [(one["line"], one["code"]) for one in response.json()["rejected"]] == [
        (1, "too_large"),
        (3, "too_large"),
    ]


async def test_exactly_as_many_lines_as_are_taken(door: Door) -> None:
    response = await door.post(lines(*(mention(n) for n in range(2_000))))
    assert response.json() == {"accepted": 2_000, "rejected": []}
    assert max(door.publisher.batches) <= 500


async def test_more_lines_than_are_taken_is_413_and_says_where_to_go_on(door: Door) -> None:
    items = [mention(n) for n in range(2_100)]
    items[3] = {}
    content = problem(await door.post(lines(*items)), 413, "too-large")
    assert content["accepted"] == 1_999
    assert content["next_line"] == 2_001
    assert [one["line"] for one in content["errors"]] == [4]
    assert "line 2,001" in content["detail"]
    assert len(door.texts) == 1_999
    assert door.texts[-1] == "text 1999"


async def test_a_refused_field_is_told_back_cut_short(door: Door) -> None:
    response = await door.post(lines(mention(1), mention(2, **{"k" * 50_000: 1})))
    (one,) = response.json()["rejected"]
    assert one["field"] == "k" * 99 + "…"
    assert len(one["reason"]) <= 300


# Content types and encodings.


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense", ""]
)
async def test_another_content_type_is_415_and_says_what_is_taken(door: Door, content_type: str) -> None:
    content = problem(await door.post(lines(mention()), content_type), 415, "unsupported-body")
    assert "application/json, application/x-ndjson" in content["detail"]


async def test_another_charset_or_encoding_is_415(door: Door) -> None:
    response = await door.post(lines(mention()), f"{LINES}; charset=iso-8859-1")
    assert "iso-8859-1" in problem(response, 415, "unsupported-body")["detail"]
    response = await door.post(lines(mention()), content_encoding="br")
    problem(response, 415, "unsupported-body")
    assert response.headers["accept-encoding"] == "gzip"


async def test_gzip_is_unpacked(door: Door) -> None:
    packed = gzip.compress(lines(*(mention(n) for n in range(100)))) + gzip.compress(lines(mention(100)))
    assert (await door.post(packed, content_encoding="gzip")).json() == {"accepted": 101, "rejected": []}
    packed = gzip.compress(json.dumps(mention()).encode())
    response = await door.post(packed, "application/json", content_encoding="GZIP")
    assert response.json()["accepted"] == 1


async def test_a_gzip_bomb_is_413(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"x" * 5_000_000)
    problem(await door.post(bomb, "application/json", content_encoding="gzip"), 413, "too-large")
    monkeypatch.setattr(front_door, "MAX_STREAM_BYTES", 1_000_000)
    content = problem(await door.post(bomb, content_encoding="gzip"), 413, "too-large")
    assert "1,000,000 bytes" in content["detail"]


async def test_broken_gzip_is_422_and_says_what_was_taken(door: Door) -> None:
    problem(await door.post(lines(mention()), content_encoding="gzip"), 422, "not-gzip")
    body = lines(*(mention(n, text=f"{n * 7_919 % 1_000_003} {n}") for n in range(1_500)))
    content = problem(await door.post(gzip.compress(body)[:-20], content_encoding="gzip"), 422, "not-gzip")
    assert content["accepted"] == len(door.texts) > 0
    assert content["next_line"] == content["accepted"] + 1


# Kafka away, too much at once, senders that stall or leave.


async def test_kafka_away_is_503_with_retry_after(door: Door) -> None:
    door.publisher.fail_after = 0
    for body, kind in ((lines(mention()), LINES), (json.dumps(mention()).encode(), "application/json")):
        response = await door.post(body, kind)
        content = problem(response, 503, "unavailable")
        assert response.headers["retry-after"] == "5"
        assert "accepted" not in content


async def test_kafka_failing_halfway_is_503_that_says_how_far_it_got(door: Door) -> None:
    door.publisher.fail_after = 1_200
    items = [mention(n) for n in range(1_800)]
    items[10] = {}
    response = await door.post(lines(*items))
    content = problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "5"
    assert content["accepted"] == len(door.texts) == 999
    assert content["next_line"] == 1_001
    assert [one["line"] for one in content["errors"]] == [11]
    assert "sending all again is harmless" in content["detail"]


async def test_more_than_may_be_held_is_503() -> None:
    door = Door(Settings(ingest_max_inflight_bytes=1_048_576, ingest_max_body_bytes=3_000_000))
    async with door.client:
        body = json.dumps([mention(n, text="x" * 10_000) for n in range(150)])
        response = await door.post(body, "application/json")
        problem(response, 503, "busy")
        assert response.headers["retry-after"] == "1"
        assert door.budget.used == 0
        assert (await door.post(lines(mention()))).status_code == 202


async def test_more_requests_than_are_read_at_once_get_503(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_REQUESTS", 2)
    door.publisher.going_on.clear()
    waiting = [asyncio.create_task(door.post(lines(mention(n)))) for n in range(2)]
    async with asyncio.timeout(10):
        while door.publisher.waiting < 2:
            await asyncio.sleep(0)
    response = await door.post(lines(mention(9)))
    problem(response, 503, "busy")
    assert response.headers["retry-after"] == "1"
    door.publisher.going_on.set()
    assert [task.status_code for task in await asyncio.gather(*waiting)] == [202, 202]
    assert (await door.post(lines(mention(3)))).status_code == 202


async def test_a_sender_that_stalls_gets_408(monkeypatch: pytest.MonkeyPatch, door: Door) -> None:
    monkeypatch.setattr("services.ingest.bodies.IDLE_SECONDS", 0.05)

    async def pieces() -> AsyncIterator[bytes]:
        yield lines(*(mention(n) for n in range(600)))
        await asyncio.Event().wait()

    response = await door.post(pieces())
    content = problem(response, 408, "too-slow")
    assert response.headers["connection"] == "close"
    assert content["accepted"] == len(door.texts) == 500
    assert content["next_line"] == 501


async def _call(app: Any, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Call the ASGI application as a server does, with `messages` from the sender; return its own."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/mentions",
        "raw_path": b"/v1/mentions",
        "query_string": b"",
        "headers": [(b"content-type", LINES.encode())],
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": "http",
        "http_version": "1.1",
        "server": ("ingest", 80),
        "root_path": "",
    }
    sent: list[dict[str, Any]] = []
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in coming:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_a_sender_that_goes_away_leaves_nothing_behind(door: Door) -> None:
    body = lines(*(mention(n) for n in range(700)))
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": True},
        {"type": "http.disconnect"},
    ]
    before = len(asyncio.all_tasks())
    sent = await _call(door.client._transport.app, messages)  # type: ignore[attr-defined]
    assert sent[0]["status"] == 400
    assert door.texts == [f"text {n}" for n in range(500)]
    assert len(asyncio.all_tasks()) == before


async def test_a_request_cut_off_by_a_stop_is_told_how_far_it_got(door: Door) -> None:
    body = lines(*(mention(n) for n in range(700)))
    messages = [{"type": "http.request", "body": body, "more_body": True}]
    call = asyncio.create_task(_call(door.client._transport.app, messages))  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while len(door.texts) < 500:
            await asyncio.sleep(0)
    call.cancel()
    sent = await call
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"5") in sent[0]["headers"]
    content = json.loads(sent[1]["body"])
    assert (content["accepted"], content["next_line"]) == (500, 501)


# What stands beside it.


async def test_the_root_says_what_this_is(door: Door) -> None:
    response = await door.client.get("/")
    assert response.status_code == 200
    assert response.json()["send"] == "POST /v1/mentions"
    assert response.json()["docs"] == "/docs"


async def test_probes(door: Door) -> None:
    assert (await door.client.get("/healthz")).status_code == 200
    assert (await door.client.get("/readyz")).json() == {"status": "ready"}
    door.publisher.missing = {"kafka": "not connected"}
    response = await door.client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["waiting_for"] == {"kafka": "not connected"}
    assert "klankbord_ingest_accepted_total" in (await door.client.get("/metrics")).text


async def test_docs_need_no_internet(door: Door) -> None:
    page = (await door.client.get("/docs")).text
    assert "swagger-ui-bundle.js" in page
    assert "cdn." not in page


async def test_the_document_describes_bodies_answers_and_problems(door: Door) -> None:
    document = (await door.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/mentions"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", LINES}
    assert set(operation["responses"]) == {"202", "408", "413", "415", "422", "503"}
    for status, response in operation["responses"].items():
        kind = "application/json" if status == "202" else "application/problem+json"
        assert list(response["content"]) == [kind]
        assert response["content"][kind]["example"]
    schemas = document["components"]["schemas"]
    assert set(schemas["Mention"]["required"]) == {"source", "text", "published_at"}
    references = set(_references(document))
    assert "#/components/schemas/Mention" in references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_the_examples_of_the_document_are_accepted(door: Door) -> None:
    document = (await door.client.get("/openapi.json")).json()
    content = document["paths"]["/v1/mentions"]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        response = await door.post(json.dumps(example["value"]), "application/json")
        assert response.json()["rejected"] == []
    assert len(door.texts) == 3


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []


async def test_unknown_paths_and_methods_are_problems_too(door: Door) -> None:
    for response, status in (
        (await door.client.get("/nowhere"), 404),
        (await door.client.get("/v1/mentions"), 405),
    ):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
