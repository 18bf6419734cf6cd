"""`klankbord corrections add`: what is typed, sent to ingest, and what it says when that goes wrong."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from klankbord.cli import app
from shared.errors import ConfigError, DependencyUnavailable

ARGUMENTS = ["corrections", "add", "5d0b8b5e-5c1c-5a3c-9a53-0c7f6a1d6f0e", "--by", "Noor"]
WRONG = {"field": "labels", "reason": "fail: no"}
Answer = httpx.Response | httpx.TransportError
LABELS = ["fail=No", "question=true", "stage=", "sentiment=negative", "topics=salary, culture"]


class Ingest:
    """Answers in the place of ingest, and keeps what it was sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
        self.requests: list[httpx.Request] = []
        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", self.handle)
        monkeypatch.setenv("KLANKBORD_INGEST_URL", "http://127.0.0.1:1")
        self._answer = answer

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self._answer, httpx.TransportError):
            raise self._answer
        return self._answer


def test_what_is_typed_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = Ingest(monkeypatch, httpx.Response(202, json={"accepted": 5}))
    result = CliRunner().invoke(app, [*ARGUMENTS, *LABELS])
    assert (result.exit_code, result.output) == (0, "5 accepted\n")
    (request,) = ingest.requests
    assert request.url == "http://127.0.0.1:1/v1/mentions/5d0b8b5e-5c1c-5a3c-9a53-0c7f6a1d6f0e/corrections"
    assert json.loads(request.content) == {
        "by": "Noor",
        "labels": {
            "fail": False,
            "question": True,
            "stage": None,
            "sentiment": "negative",
            "topics": ["salary", "culture"],
        },
    }


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (httpx.Response(422, json={"errors": [WRONG]}), ConfigError, "labels: fail: no"),
        (httpx.Response(503, json={"detail": "Kafka does not answer"}), ConfigError, "Kafka does not answer"),
        (httpx.Response(404, text="<html>"), ConfigError, "ingest answered: <html>"),
        (httpx.ConnectError("refused"), DependencyUnavailable, "refused"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    error: type[Exception],
    text: str,
) -> None:
    Ingest(monkeypatch, answer)
    result = CliRunner().invoke(app, [*ARGUMENTS, "fail=true"])
    assert isinstance(result.exception, error)
    assert text in str(result.exception)


def test_what_is_no_pair_is_refused() -> None:
    result = CliRunner().invoke(app, [*ARGUMENTS, "fail"])
    assert isinstance(result.exception, ConfigError)
    assert "write LABEL=VALUE" in str(result.exception)
