"""The RSS and Atom connector: polls the feeds of klankbord.toml and publishes what is new or changed.

One task a feed. Each poll is a conditional GET; what the document says is compared with what was seen before
(the checkpoint); new and changed entries are published, and only once Kafka has acknowledged them is the
checkpoint moved on. A crash in between publishes some entries again, which the mention's id makes harmless.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from services.ingest.backoff import backoff_seconds, retry_after_seconds
from services.ingest.connectors import Checkpoints, MentionPublisher
from services.ingest.connectors.feed_document import Entry, FeedDocument, NotAFeed, read_document
from services.ingest.fetch import Fetched, Fetcher, FetchError, FetchProblem
from shared.brands import Feed
from shared.clock import Clock
from shared.errors import DependencyUnavailable, InvalidMention
from shared.events import EARLIEST, FUTURE_TOLERANCE, Mention, parse_mention
from shared.metrics_catalogue import FEED_POLLS, REJECTED, SOURCE_ERRORS, SOURCE_LAST_SUCCESS

VIA = "feed"
MAX_SEEN = 2_000
MAX_POLLS_AT_ONCE = 8
PUBLISH_AT_ONCE = 200
RETRY_BASE_SECONDS = 30.0
RETRY_CAP_SECONDS = 3_600.0
ACCEPT = "application/atom+xml, application/rss+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"

log = structlog.get_logger()


class PollOutcome(StrEnum):
    """How a poll ended: a closed set, used as metric label."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    GONE = "gone"
    THROTTLED = "throttled"
    HTTP_ERROR = "http_error"
    NOT_A_FEED = "not_a_feed"
    ADDRESS_REFUSED = "address_refused"
    UNREACHABLE = "unreachable"
    TOO_LARGE = "too_large"
    BAD_RESPONSE = "bad_response"
    NOT_PUBLISHED = "not_published"


HEALTHY = frozenset({PollOutcome.PUBLISHED, PollOutcome.UNCHANGED})
_OF_PROBLEM = {problem: PollOutcome(problem.value) for problem in FetchProblem}


class FeedState(BaseModel):
    """A feed's checkpoint.

    `seen` has, by digest of the entry's id and least recently seen first, the digest of what was published
    and when it was first seen (Unix seconds). `subject` is the configuration that all of it holds for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    etag: str | None = None
    last_modified: str | None = None
    subject: str = ""
    seen: Annotated[dict[str, tuple[str, int]], Field(max_length=MAX_SEEN)] = {}


@dataclass(frozen=True)
class Watched:
    """A feed, and the brand that its entries are about; None: to be matched by their terms."""

    feed: Feed
    brand: str | None

    @property
    def key(self) -> str:
        """The checkpoint's name."""
        return f"rss:{self.feed.url}"

    @property
    def subject(self) -> str:
        """What decides which mentions come of an entry, so that a change of it brings all of them again."""
        return _digest([self.feed.source_name, self.brand, self.feed.language])


@dataclass(frozen=True)
class Poll:
    """What a poll came to; `retry_after` in seconds, when the server asked for it."""

    outcome: PollOutcome
    retry_after: float | None = None


@dataclass(frozen=True)
class Review:
    """What a document brings: new and changed mentions, entries that break a rule, and what is seen now."""

    mentions: tuple[Mention, ...]
    rejected: tuple[tuple[Entry, InvalidMention], ...]
    seen: dict[str, tuple[str, int]]


def review(
    document: FeedDocument, watched: Watched, seen: Mapping[str, tuple[str, int]], now: datetime
) -> Review:
    """Compare `document` with what was `seen` before. Pure.

    An entry without a usable date (none, before 2000, or in the future) is dated when it was first seen.
    """
    mentions: list[Mention] = []
    rejected: list[tuple[Entry, InvalidMention]] = []
    current: dict[str, tuple[str, int]] = {}
    for entry in document.entries:
        key = _digest(entry.external_id)
        before, first_seen = seen.get(key, ("", int(now.timestamp())))
        draft = _draft(entry, watched, document.language, _date(entry, first_seen, now))
        try:
            mention = parse_mention(draft, now)
            content = _digest(mention.model_dump(mode="json"))
            if content != before:
                mentions.append(mention)
        except InvalidMention as error:
            content = _digest({**draft, "published_at": None})
            if content != before:
                rejected.append((entry, error))
        current[key] = (content, first_seen)
    older = {key: value for key, value in seen.items() if key not in current}
    room = max(MAX_SEEN - len(current), 0)
    kept = dict(islice(older.items(), max(len(older) - room, 0), None))
    return Review(tuple(mentions), tuple(rejected), {**kept, **current})


def _date(entry: Entry, first_seen: int, now: datetime) -> datetime:
    if entry.published_at is not None and EARLIEST <= entry.published_at <= now + FUTURE_TOLERANCE:
        return entry.published_at
    return datetime.fromtimestamp(first_seen, UTC)


def _draft(entry: Entry, watched: Watched, language: str | None, published_at: datetime) -> dict[str, Any]:
    """Return the mention that an entry stands for, not checked yet."""
    return {
        "source": watched.feed.source_name,
        "external_id": entry.external_id,
        "brand": watched.brand,
        "author": {"name": entry.author} if entry.author else None,
        "text": entry.text,
        "url": entry.url,
        "language_hint": watched.feed.language or _language(language),
        "published_at": published_at,
        "kind": "post",
        "metadata": {"feed": watched.feed.url, **({"tags": list(entry.tags)} if entry.tags else {})},
    }


def _language(tag: str | None) -> str | None:
    """Return the primary language of a tag such as nl-NL; None when that is not what it looks like."""
    primary = (tag or "").strip().replace("_", "-").split("-")[0].lower()
    return primary if primary.isascii() and primary.isalpha() and 2 <= len(primary) <= 3 else None


def _digest(value: object) -> str:
    return hashlib.sha256(to_json(value)).hexdigest()[:16]


def watch_list(feeds: Sequence[tuple[str | None, Feed]]) -> tuple[Watched, ...]:
    """Return what to poll: each address once.

    An entry of a feed that stands with several brands cannot be given to one of them: it is matched by terms.
    """
    watched: dict[str, Watched] = {}
    for brand, feed in feeds:
        there = watched.get(feed.url)
        if there is not None and there.brand != brand:
            log.warning("feed_of_several_brands", url=feed.url, hint="its entries are matched by their terms")
            watched[feed.url] = Watched(there.feed, None)
        elif there is None:
            watched[feed.url] = Watched(feed, brand)
    return tuple(watched.values())


@dataclass
class FeedPoller:
    """Polls feeds until it is cancelled. `feeds` as shared.brands.BrandBook.all_feeds() gives them."""

    feeds: Sequence[tuple[str | None, Feed]]
    publisher: MentionPublisher
    checkpoints: Checkpoints
    clock: Clock
    fetcher: Fetcher = field(default_factory=Fetcher)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        # However many feeds there are, this many documents at most are in memory.
        self._slots = asyncio.Semaphore(MAX_POLLS_AT_ONCE)

    async def run(self) -> None:
        """Poll every feed, each at its own interval, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for watched in watch_list(self.feeds):
                tasks.create_task(self.watch(watched))
        # All of them are gone; to return would look like a crash.
        await asyncio.Event().wait()

    async def watch(self, watched: Watched) -> None:
        """Poll one feed for ever, or until it says that it is gone."""
        failures = 0
        while True:
            async with self._slots:
                poll = await self.poll(watched)
            self._count(watched.feed.source_name, poll.outcome)
            if poll.outcome is PollOutcome.GONE:
                hint = "the server says it is gone for good; take it out of klankbord.toml"
                log.warning("feed_stopped", url=watched.feed.url, hint=hint)
                return
            failures = 0 if poll.outcome in HEALTHY else failures + 1
            await self.sleep(self._wait(watched.feed, failures, poll.retry_after))

    def _count(self, source: str, outcome: PollOutcome) -> None:
        FEED_POLLS.labels(source, outcome).inc()
        if outcome in HEALTHY:
            SOURCE_LAST_SUCCESS.labels(source).set(self.clock.now().timestamp())
        else:
            SOURCE_ERRORS.labels(source, outcome).inc()

    async def poll(self, watched: Watched) -> Poll:
        """Fetch one feed once, and publish what is new. An outage or a wrong document is an outcome."""
        state = self._state(watched)
        try:
            fetched = await self.fetcher.fetch(
                watched.feed.url,
                _conditional(state, watched),
                allow_private=watched.feed.allow_private_addresses,
            )
            return await self._take(watched, state, fetched)
        except FetchError as error:
            return _failed(watched, _OF_PROBLEM[error.kind], error)
        except NotAFeed as error:
            return _failed(watched, PollOutcome.NOT_A_FEED, error)
        except DependencyUnavailable as error:
            return _failed(watched, PollOutcome.NOT_PUBLISHED, error)

    async def _take(self, watched: Watched, state: FeedState, fetched: Fetched) -> Poll:
        if fetched.status == 200:
            return await self._publish_new(watched, state, fetched)
        if fetched.status == 304:
            return Poll(PollOutcome.UNCHANGED)
        if fetched.status == 410:
            return Poll(PollOutcome.GONE)
        outcome = PollOutcome.THROTTLED if fetched.status in {429, 503} else PollOutcome.HTTP_ERROR
        retry_after = retry_after_seconds(fetched.headers.get("retry-after"), self.clock.now())
        return _failed(watched, outcome, f"it answers HTTP {fetched.status}", retry_after)

    async def _publish_new(self, watched: Watched, state: FeedState, fetched: Fetched) -> Poll:
        # In a thread: a large feed takes seconds, and the service has requests to answer.
        found = await asyncio.to_thread(_read_and_review, fetched, watched, state, self.clock.now())
        for start in range(0, len(found.mentions), PUBLISH_AT_ONCE):
            await self.publisher.publish(found.mentions[start : start + PUBLISH_AT_ONCE], via=VIA)
        after = FeedState(
            etag=_header(fetched.headers.get("etag")),
            last_modified=_header(fetched.headers.get("last-modified")),
            subject=watched.subject,
            seen=found.seen,
        )
        if after != state:
            await self.checkpoints.put(watched.key, after.model_dump(mode="json"))
        for entry, error in found.rejected:
            REJECTED.labels(VIA, error.code).inc()
            SOURCE_ERRORS.labels(watched.feed.source_name, error.code).inc()
            log.warning(
                "feed_entry_rejected",
                url=watched.feed.url,
                entry=entry.external_id,
                field=error.field,
                code=str(error.code),
            )
        if not found.mentions:
            return Poll(PollOutcome.UNCHANGED)
        log.info("feed_published", url=watched.feed.url, mentions=len(found.mentions))
        return Poll(PollOutcome.PUBLISHED)

    def _state(self, watched: Watched) -> FeedState:
        stored = self.checkpoints.get(watched.key)
        if stored is None:
            return FeedState()
        try:
            return FeedState.model_validate(stored)
        except ValidationError:
            log.warning(
                "feed_checkpoint_not_readable", url=watched.feed.url, hint="all entries are sent again"
            )
            return FeedState()

    def _wait(self, feed: Feed, failures: int, retry_after: float | None) -> float:
        if failures == 0:
            return feed.interval_seconds * (0.9 + 0.2 * self.jitter())
        pause = backoff_seconds(
            failures, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, jitter=self.jitter()
        )
        return max(pause, retry_after or 0.0)


def _read_and_review(fetched: Fetched, watched: Watched, state: FeedState, now: datetime) -> Review:
    document = read_document(fetched.body, fetched.headers, watched.feed.url)
    return review(document, watched, state.seen, now)


def _conditional(state: FeedState, watched: Watched) -> dict[str, str]:
    headers = {"accept": ACCEPT}
    if state.subject != watched.subject:
        return headers
    if state.etag:
        headers["if-none-match"] = state.etag
    if state.last_modified:
        headers["if-modified-since"] = state.last_modified
    return headers


def _header(value: str | None) -> str | None:
    """Return a header value that can be sent back as it is; None for any other."""
    return value if value and len(value) <= 1_000 and value.isascii() and value.isprintable() else None


def _failed(watched: Watched, outcome: PollOutcome, reason: object, retry_after: float | None = None) -> Poll:
    log.warning("feed_poll_failed", url=watched.feed.url, outcome=str(outcome), reason=str(reason)[:500])
    return Poll(outcome, retry_after)
