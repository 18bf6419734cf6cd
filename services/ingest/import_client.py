"""Handing lines to a running ingest over HTTP, and waiting for it when it is away or busy."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from services.ingest.backoff import backoff_seconds, retry_after_seconds
from services.ingest.import_rows import ImportProblem
from shared.clock import Clock, SystemClock
from shared.events import RejectionCode

GIVE_UP_SECONDS = 600.0
RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 30.0
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)


@dataclass(frozen=True)
class Refusal:
    """A line that ingest refused; `index` is its place in what was sent, 0-based."""

    index: int
    field: str
    code: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """What ingest made of some lines: how many it took, and those that it refused."""

    accepted: int
    refused: tuple[Refusal, ...] = ()


@dataclass
class IngestClient:
    """Sends lines to the ingest at `url`. `tell` shows a person why it is waiting."""

    url: str
    tell: Callable[[str], None]
    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], None] = time.sleep
    transport: httpx.BaseTransport | None = None

    def __post_init__(self) -> None:
        self._http = http_client(self.url, self.transport)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def send(self, lines: Sequence[bytes]) -> Answer:
        """Return what ingest made of `lines`, all acknowledged; waits while it is away or busy.

        Raises ImportProblem when it stays away for GIVE_UP_SECONDS, or answers what ingest does not answer.
        """
        failures = 0
        began = self.clock.monotonic()
        while True:
            response = self._post(lines)
            if isinstance(response, httpx.Response) and response.status_code in {202, 422}:
                return _answer(response, len(lines))
            if isinstance(response, httpx.Response) and response.status_code == 413:
                return self._send_in_halves(lines)
            failures += 1
            reason, asked = _why_not(response, self.clock.now())
            pause = backoff_seconds(failures, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, jitter=0)
            pause = max(pause, asked or 0)
            if self.clock.monotonic() - began + pause > GIVE_UP_SECONDS:
                raise ImportProblem(f"{reason} Nothing is lost: run it again, and it goes on where it is.")
            self.tell(f"{reason} Trying again in {pause:.0f} s.")
            self.sleep(pause)

    def _post(self, lines: Sequence[bytes]) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.post(
                "/v1/mentions",
                content=b"\n".join(lines) + b"\n",
                headers={"content-type": "application/x-ndjson"},
            )
        except httpx.TransportError as error:
            return error

    def _send_in_halves(self, lines: Sequence[bytes]) -> Answer:
        """Send less at a time, down to a single line that is too large by itself."""
        if len(lines) == 1:
            reason = "is larger than this ingest takes"
            return Answer(0, (Refusal(0, "", RejectionCode.TOO_LARGE, reason),))
        middle = len(lines) // 2
        first, second = self.send(lines[:middle]), self.send(lines[middle:])
        moved = (Refusal(r.index + middle, r.field, r.code, r.reason) for r in second.refused)
        return Answer(first.accepted + second.accepted, (*first.refused, *moved))


def http_client(url: str, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return a client of the ingest at `url`. Raises ImportProblem when that is no address."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ImportProblem(f"{url!r} is no address of ingest; write it like http://127.0.0.1:8081")
    return httpx.Client(
        base_url=url.rstrip("/"),
        timeout=_TIMEOUT,
        transport=transport,
        # A proxy for the outside world cannot reach this machine's own services.
        trust_env=not _is_loopback(parts.hostname),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why_not(response: httpx.Response | httpx.TransportError, now: datetime) -> tuple[str, float | None]:
    """Return why nothing was taken and how long to wait; raises ImportProblem when waiting does not help."""
    if isinstance(response, httpx.TransportError):
        where = response.request.url.copy_with(path="/")
        why = str(response) or type(response).__name__
        return f"ingest at {where} does not answer ({why}). Is it running?", None
    status = response.status_code
    asked = retry_after_seconds(response.headers.get("retry-after"), now)
    title = str(_json(response).get("title", ""))[:200]
    where = response.request.url.copy_with(path="/")
    reason = f"ingest at {where} answers {status}{f' ({title})' if title else ''}."
    if status == 429 or status >= 500:
        return reason, asked
    raise ImportProblem(f"{reason} Is this the address of ingest? It is set with --ingest-url.")


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _answer(response: httpx.Response, lines: int) -> Answer:
    """Read an answer. Raises ImportProblem when it does not account for every line: nothing may be lost."""
    body = _json(response)
    listed = body.get("rejected" if response.status_code == 202 else "errors")
    refused = tuple(_refusal(one) for one in listed) if isinstance(listed, list) else ()
    accepted = body.get("accepted", 0)
    places = {one.index for one in refused}
    complete = len(places) == len(refused) and places <= set(range(lines))
    if not complete or accepted + len(refused) != lines:
        url = response.request.url
        raise ImportProblem(f"The answer of {url} ({response.status_code}) is not one that ingest gives.")
    return Answer(accepted, refused)


def _refusal(one: Any) -> Refusal:
    found = one if isinstance(one, dict) else {}
    line = found.get("line")
    return Refusal(
        line - 1 if isinstance(line, int) else -1,
        str(found.get("field", "")),
        str(found.get("code", RejectionCode.INVALID)),
        str(found.get("reason", "")),
    )
