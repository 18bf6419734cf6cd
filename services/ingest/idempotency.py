"""Idempotency-Key: a request that is sent again with its key gets the answer of the first time.

Follows draft-ietf-httpapi-idempotency-key-header. Remembered in this process, for a day and within bounds:
when a key is forgotten, or reaches another process, the request is taken again, which never counts a mention
twice either (its id follows from what it is). So the key spares work and repeats the answer.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from services.ingest.bodies import MAX_STREAM_BYTES, read_pieces
from shared.clock import Clock
from shared.problems import problem

HEADER = "idempotency-key"
MAX_KEY = 255
MAX_KEYS = 10_000
MAX_BYTES = 16_777_216
KEPT_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class _Answer:
    fingerprint: bytes
    body: bytes
    at: float


class IdempotentAnswers:
    """The answers of requests that had a key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._under_way: set[str] = set()
        self._bytes = 0

    async def answer(self, request: Request, take: Callable[[Request], Awaitable[Response]]) -> Response:
        """Return what `take` answers, or what it answered when this request came before.

        Raises a Problem: 409 while the first is under way, 422 when the key came with
        another body before, or is none.
        """
        key = request.headers.get(HEADER)
        if key is None:
            return await take(request)
        if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
            detail = f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters."
            raise problem(422, "wrong-idempotency-key", "The Idempotency-Key is not one", detail)
        if key in self._under_way:
            detail = "A request with this Idempotency-Key is being read; its answer can be had in a second."
            headers = {"retry-after": "1"}
            raise problem(409, "request-under-way", "The same is under way", detail, headers=headers)
        self._forget_old()
        known = self._answers.get(key)
        digest = hashlib.sha256()
        hashed = Request(request.scope, _hashing(request, digest.update))
        if known is not None:
            return await _repeated(known, hashed, digest.digest)
        self._under_way.add(key)
        try:
            response = await take(hashed)
        finally:
            self._under_way.discard(key)
        if response.status_code == 202:  # noqa: PLR2004
            self._keep(key, _Answer(digest.digest(), bytes(response.body), self._clock.monotonic()))
        return response

    def _keep(self, key: str, answer: _Answer) -> None:
        self._answers[key] = answer
        self._bytes += len(answer.body)
        while len(self._answers) > MAX_KEYS or self._bytes > MAX_BYTES:
            self._drop_oldest()

    def _forget_old(self) -> None:
        before = self._clock.monotonic() - KEPT_SECONDS
        while self._answers and next(iter(self._answers.values())).at < before:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._answers.popitem(last=False)
        self._bytes -= len(oldest.body)


def _hashing(request: Request, update: Callable[[bytes], None]) -> Callable[[], Awaitable[Message]]:
    async def receive() -> Message:
        message = await request.receive()
        if message["type"] == "http.request":
            update(message.get("body", b""))
        return message

    return receive


async def _repeated(known: _Answer, request: Request, digest: Callable[[], bytes]) -> Response:
    try:
        async with aclosing(read_pieces(request, MAX_STREAM_BYTES, gzipped=False)) as pieces:
            async for _ in pieces:
                pass
    except ClientDisconnect:
        return Response(status_code=400)
    if digest() != known.fingerprint:
        detail = "This Idempotency-Key came with another body before; give each request a key of its own."
        raise problem(422, "idempotency-key-reused", "The Idempotency-Key belongs to another request", detail)
    headers = {"idempotent-replayed": "true"}
    return Response(known.body, status_code=202, media_type="application/json", headers=headers)
