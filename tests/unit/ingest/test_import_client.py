"""Handing lines to ingest: what its answers mean, and when to wait. On a mock transport."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.ingest.import_client import GIVE_UP_SECONDS, Answer, IngestClient, Refusal
from services.ingest.import_rows import ImportProblem
from shared.clock import ManualClock

LINES = (b'{"a":1}', b'{"a":2}', b'{"a":3}')
REFUSED = {"line": 2, "field": "text", "code": "missing", "reason": "is required"}


class World:
    def __init__(
        self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
    ) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.waited: list[float] = []
        self.told: list[str] = []
        self.clock = ManualClock(datetime(2026, 3, 29, tzinfo=UTC))
        transport = httpx.MockTransport(self._handle)
        self.client = IngestClient(
            "http://127.0.0.1:8081/", self.told.append, self.clock, self._sleep, transport
        )

    def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.clock.advance(seconds)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://127.0.0.1:8081/v1/mentions"
        assert request.headers["content-type"] == "application/x-ndjson"
        self.bodies.append(request.content)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


def taken(accepted: int, *rejected: dict[str, Any]) -> httpx.Response:
    return httpx.Response(202, json={"accepted": accepted, "rejected": list(rejected)})


def test_what_was_taken_and_what_was_refused_is_told() -> None:
    world = World(taken(2, REFUSED))

    assert world.client.send(LINES) == Answer(2, (Refusal(1, "text", "missing", "is required"),))
    assert world.bodies == [b'{"a":1}\n{"a":2}\n{"a":3}\n']


def test_when_all_is_refused_the_reasons_come_as_a_problem() -> None:
    errors = [{**REFUSED, "line": n} for n in (1, 2, 3)]
    world = World(httpx.Response(422, json={"title": "No mention was accepted", "errors": errors}))

    answer = world.client.send(LINES)

    assert (answer.accepted, [refusal.index for refusal in answer.refused]) == (0, [0, 1, 2])


def test_an_outage_is_waited_out_visibly() -> None:
    world = World(
        httpx.ConnectError("refused"),
        httpx.Response(503, headers={"retry-after": "7"}, json={"title": "Kafka is not available right now"}),
        httpx.Response(429),
        httpx.ReadError(""),
        taken(3),
    )

    assert world.client.send(LINES) == Answer(3)
    assert world.waited == [1, 7, 4, 8]
    assert "refused" in world.told[0]
    assert "503 (Kafka is not available right now)" in world.told[1]
    assert "Trying again in 7 s" in world.told[1]


def test_an_outage_that_does_not_end_is_given_up_in_time() -> None:
    world = World(httpx.ConnectError("refused"))

    with pytest.raises(ImportProblem, match="run it again"):
        world.client.send(LINES)

    assert GIVE_UP_SECONDS - 30 < sum(world.waited) <= GIVE_UP_SECONDS


@pytest.mark.parametrize("status", [400, 404, 405, 415])
def test_what_ingest_does_not_answer_is_no_ingest(status: int) -> None:
    world = World(httpx.Response(status))

    with pytest.raises(ImportProblem, match="--ingest-url"):
        world.client.send(LINES)

    assert world.waited == []


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(202, text="<html>welcome</html>"),
        taken(2),
        taken(3, REFUSED),
        taken(2, {**REFUSED, "line": 4}),
        taken(2, {**REFUSED, "line": 0}),
        taken(1, REFUSED, REFUSED),
        taken(2, {"index": 0}),
        httpx.Response(422, json={"errors": []}),
    ],
)
def test_an_answer_that_does_not_account_for_every_line_is_not_believed(answer: httpx.Response) -> None:
    with pytest.raises(ImportProblem, match="not one that ingest gives"):
        World(answer).client.send(LINES)


def test_what_is_too_large_is_sent_in_parts() -> None:
    def at_most_one(request: httpx.Request) -> httpx.Response:
        lines = request.content.splitlines()
        if len(lines) > 1 or json.loads(lines[0])["a"] == 1:
            return httpx.Response(413)
        return taken(0, {**REFUSED, "line": 1}) if json.loads(lines[0])["a"] == 3 else taken(1)

    answer = World(at_most_one).client.send(LINES)

    assert answer.accepted == 1
    assert [(refusal.index, refusal.code) for refusal in answer.refused] == [(0, "too_large"), (2, "missing")]


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "ftp://x", "", "http://"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ImportProblem, match="no address of ingest"):
        IngestClient(url, print)
