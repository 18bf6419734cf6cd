"""POST /v1/mentions: the front door for mentions, and the probes beside it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from fastapi_problem.error import Problem
from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from services.ingest.bodies import (
    JSON_TYPE,
    LINES_TYPES,
    MAX_STREAM_BYTES,
    BodyKind,
    LineSplitter,
    body_kind,
    read_pieces,
    read_whole,
    too_large,
    without_mark,
)
from services.ingest.budget import Budget, Overloaded
from services.ingest.corrections import corrections_router
from services.ingest.documentation import DESCRIPTION, MENTIONS_BODY, MENTIONS_RESPONSES, with_mention_schema
from services.ingest.idempotency import IdempotentAnswers
from services.ingest.intake import VIA, Intake, MentionPublisher, Taken
from services.ingest.sift import parse_array, sift_items, sift_lines, sift_object
from shared.clock import Clock
from shared.errors import DependencyUnavailable, InvalidMention
from shared.http_metrics import HttpMetrics, RequestMetrics
from shared.metrics_catalogue import (
    INFLIGHT_BYTES,
    INFLIGHT_LIMIT_BYTES,
    INGEST_IN_PROGRESS,
    INGEST_REQUEST_SECONDS,
    INGEST_REQUESTS,
    REJECTED,
    Exporter,
)
from shared.problems import RETRY_AFTER_SECONDS, install_problem_handlers, problem
from shared.settings import Settings
from shared.telemetry import probe_routes

MAX_REQUESTS = 100
"""At most so many requests are read at once; the others get 503 right away."""
BATCH = 500
BATCH_BYTES = 1_048_576

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
log = structlog.get_logger()


def create_app(
    settings: Settings,
    publisher: MentionPublisher,
    clock: Clock,
    budget: Budget,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """Return the application; `lifespan` starts and stops what it stands on."""
    app: FastAPI = FastAPIOffline(
        title="Klankbord ingest", version="1", description=DESCRIPTION, lifespan=lifespan
    )
    door = FrontDoor(settings, publisher, clock, budget)
    install_problem_handlers(app)
    app.add_api_route("/", _about, summary="What this is", tags=["about"])
    app.add_api_route(
        "/v1/mentions",
        door.post_mentions,
        methods=["POST"],
        status_code=202,
        response_model=None,
        summary="Send mentions",
        description=FrontDoor.post_mentions.__doc__,
        tags=["mentions"],
        responses=MENTIONS_RESPONSES,
        openapi_extra=MENTIONS_BODY,
    )
    app.include_router(corrections_router(publisher))
    app.router.routes.extend(probe_routes(Exporter.INGEST, publisher.waiting_for))
    with_mention_schema(app)
    app.add_middleware(
        RequestMetrics, metrics=HttpMetrics(INGEST_REQUESTS, INGEST_REQUEST_SECONDS, INGEST_IN_PROGRESS)
    )
    INFLIGHT_BYTES.set_function(lambda: budget.used)
    INFLIGHT_LIMIT_BYTES.set(settings.ingest_max_inflight_bytes)
    return app


async def _about() -> dict[str, str]:
    """Say what this is and where to read on."""
    return {
        "service": "Klankbord ingest: takes what is said about an employer",
        "send": "POST /v1/mentions",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "ready": "/readyz",
    }


class FrontDoor:
    """Takes mentions over HTTP."""

    def __init__(self, settings: Settings, publisher: MentionPublisher, clock: Clock, budget: Budget) -> None:
        self._settings = settings
        self._publisher = publisher
        self._clock = clock
        self._budget = budget
        self._requests = 0
        self._answers = IdempotentAnswers(clock)

    async def post_mentions(self, request: Request) -> Response:
        """Take one mention (a JSON object), several (an array) or many (NDJSON, one object a line).

        202 comes after Kafka has acknowledged all that were accepted. Mentions that break a rule are listed
        under `rejected`; the others of the same request are kept. Sending a mention again is harmless: its
        id follows from `source` and `external_id` (without one: from the content), and it counts once.

        A body without a Content-Type is taken for JSON. `Content-Encoding: gzip` is unpacked. A request
        that is sent again with its `Idempotency-Key` gets the same answer, and is not taken again.
        """
        with self._one_request():
            return await self._answers.answer(request, self._answer_to)

    async def _answer_to(self, request: Request) -> Response:
        kind = body_kind(request.headers)
        taken = Taken("line" if kind.lines else "index", keep_ids=not kind.lines)
        try:
            await self._take(request, kind, taken)
        except ClientDisconnect:
            log.info("sender_went_away", accepted=taken.accepted)
            return Response(status_code=400)
        except Problem as refusal:
            raise _told_how_far(refusal, taken) from None
        except (DependencyUnavailable, asyncio.CancelledError) as outage:
            log.warning("mentions_not_taken", reason=repr(outage), accepted=taken.accepted)
            raise _told_how_far(_outage(outage), taken) from outage
        return _answer(taken)

    @contextmanager
    def _one_request(self) -> Iterator[None]:
        if self._requests >= MAX_REQUESTS:
            detail = f"{MAX_REQUESTS} requests are being read already; come back in a second."
            raise _unavailable("busy", "Ingest is busy", detail, retry_after=1)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _take(self, request: Request, kind: BodyKind, taken: Taken) -> None:
        with self._budget.share() as share:
            intake = Intake(self._publisher, taken, share)
            take = self._take_lines if kind.lines else self._take_json
            try:
                await take(request, kind.gzipped, intake)
            finally:
                await intake.settle()

    async def _take_json(self, request: Request, gzipped: bool, intake: Intake) -> None:
        body = without_mark(await self._read_whole(request, gzipped, intake))
        first = body.lstrip()[:1]
        if not first:
            raise _nothing("The body is empty.")
        if first != b"[":
            await intake.put(sift_object(body, self._clock.now()), 1)
            return
        items = self._items(body)
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            await intake.put(sift_items(batch, start, self._clock.now()), len(batch))

    def _items(self, body: bytes) -> list[object]:
        try:
            items = parse_array(body)
        except InvalidMention as error:
            REJECTED.labels(VIA, error.code).inc()
            errors = [{"index": 0, "field": "", "code": error.code, "reason": error.reason}]
            detail = f"The body {error.reason}."
            raise problem(422, "not-json", "The body is not JSON", detail, errors=errors) from None
        if not items:
            raise _nothing("The array is empty.")
        if len(items) > (most := self._settings.ingest_max_lines):
            raise too_large(
                f"The array has {len(items):,} items; at most {most:,} are taken. Send several requests."
            )
        return items

    async def _read_whole(self, request: Request, gzipped: bool, intake: Intake) -> bytes:
        most = self._settings.ingest_max_body_bytes
        detail = f"A JSON body may be {most:,} bytes. Send fewer at a time, or as {LINES_TYPES[0]}."
        return await read_whole(request, most, detail, gzipped=gzipped, hold=intake.hold)

    async def _take_lines(self, request: Request, gzipped: bool, intake: Intake) -> None:
        most = self._settings.ingest_max_lines
        read = 0
        blank = True
        async with aclosing(_read_batches(request, gzipped)) as batches:
            async for batch in batches:
                lines = batch[: most - read]
                sifted = sift_lines(lines, read + 1, self._clock.now())
                blank = blank and not sifted.accepted and not sifted.rejected
                await intake.put(sifted, len(lines))
                read += len(lines)
                if len(lines) < len(batch):
                    raise too_large(f"A request may have {most:,} lines; this one has more.")
        if blank:
            raise _nothing("The body has no lines with a mention in them.")


async def _read_batches(request: Request, gzipped: bool) -> AsyncGenerator[list[bytes | None], None]:
    """Yield the body's lines, at most BATCH at a time, blank ones too, and None for one that is too long."""
    splitter = LineSplitter()
    lines: list[bytes | None] = []
    held = 0
    async with aclosing(read_pieces(request, MAX_STREAM_BYTES, gzipped=gzipped)) as pieces:
        async for piece in pieces:
            held += len(piece)
            lines += splitter.feed(piece)
            while len(lines) >= BATCH or (lines and held >= BATCH_BYTES):
                yield lines[:BATCH]
                del lines[:BATCH]
                held = 0
    lines += splitter.finish()
    if lines:
        yield lines


def _answer(taken: Taken) -> Response:
    if taken.rejected and not taken.accepted:
        first = taken.rejected[0]
        detail = f"All {len(taken.rejected):,} are refused." if len(taken.rejected) > 1 else "It is refused."
        detail += f" The first ({taken.place_name} {first.place}): {first.field or 'it'} {first.reason}."
        title = "No mention was accepted"
        raise problem(422, "no-mention-accepted", title, detail, errors=taken.rejections())
    content: dict[str, Any] = {"accepted": taken.accepted, "rejected": taken.rejections()}
    if taken.keep_ids:
        content["ids"] = taken.ids
    return Response(to_json(content), status_code=202, media_type=JSON_TYPE)


def _told_how_far(error: Problem, taken: Taken) -> Problem:
    """Return `error`, made to say what of the request was taken before it came up."""
    if not taken.accepted and not taken.rejected:
        return error
    unit = taken.place_name
    last = taken.places if unit == "line" else taken.places - 1
    error.extras |= {"accepted": taken.accepted, f"next_{unit}": last + 1}
    error.extras.setdefault("errors", taken.rejections())
    error.detail = (
        f"{error.detail} Up to {unit} {last:,} all is done: {taken.accepted:,} accepted and acknowledged, "
        f"{len(taken.rejected):,} refused. Go on at {unit} {last + 1:,}; sending all again is harmless too."
    )
    return error


def _outage(error: BaseException) -> Problem:
    if isinstance(error, Overloaded):
        detail = "More comes in than Kafka acknowledges; what was not acknowledged is to be sent again."
        return _unavailable("busy", "Ingest is busy", detail, retry_after=1)
    if isinstance(error, DependencyUnavailable):
        detail = "Kafka does not acknowledge; send it again in a few seconds, which never counts twice."
        return _unavailable("unavailable", "Kafka is not available right now", detail)
    detail = "Ingest is being stopped; send it again in a few seconds, which never counts twice."
    return _unavailable("unavailable", "Ingest is not available right now", detail)


def _unavailable(slug: str, title: str, detail: str, retry_after: int = RETRY_AFTER_SECONDS) -> Problem:
    return problem(503, slug, title, detail, headers={"retry-after": str(retry_after)})


def _nothing(what: str) -> Problem:
    detail = f"{what} Send a JSON object, an array of them, or one a line."
    return problem(422, "no-mentions", "There are no mentions in the request", detail, errors=[])
