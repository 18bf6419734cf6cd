"""One request's mentions on their way to Kafka: batch after batch, and what came of them so far."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from services.ingest.budget import Share
from services.ingest.sift import Rejection, Sifted
from shared.correction_events import CorrectedLabel, Value
from shared.events import Mention
from shared.metrics_catalogue import REJECTED

VIA = "http"


class MentionPublisher(Protocol):
    """What puts mentions on Kafka (services/ingest/publish.py)."""

    async def publish(self, mentions: Sequence[Mention], via: str) -> None:
        """Return once Kafka has acknowledged all `mentions`; raises DependencyUnavailable."""
        ...

    async def correct(self, mention_id: UUID, labels: Mapping[CorrectedLabel, Value], by: str) -> None:
        """Return once Kafka has acknowledged the corrections; raises DependencyUnavailable."""
        ...

    async def waiting_for(self) -> Mapping[str, str]:
        """Return what keeps it from publishing: {dependency: reason}, empty when nothing does."""
        ...


@dataclass
class Taken:
    """What came of a request so far. All in it is settled: acknowledged by Kafka, or refused.

    `place_name` is what a rejection calls its place: index (of an array) or line.
    """

    place_name: str
    keep_ids: bool
    places: int = 0
    accepted: int = 0
    ids: list[UUID] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def add(self, sifted: Sifted, places: int) -> None:
        """Count a batch of `places` lines or items."""
        self.places += places
        self.accepted += len(sifted.accepted)
        self.rejected.extend(sifted.rejected)
        if self.keep_ids:
            self.ids.extend(mention.id for mention in sifted.accepted)
        for rejection in sifted.rejected:
            REJECTED.labels(VIA, rejection.code).inc()

    def rejections(self) -> list[dict[str, Any]]:
        """Return the rejections as they are told to the sender."""
        return [
            {self.place_name: one.place, "field": one.field, "code": one.code, "reason": one.reason}
            for one in self.rejected
        ]


class Intake:
    """Publishes batch after batch; the next one is read while Kafka acknowledges the one before."""

    def __init__(self, publisher: MentionPublisher, taken: Taken, share: Share) -> None:
        self._publisher = publisher
        self._taken = taken
        self._share = share
        self._under_way: tuple[asyncio.Task[None], Sifted, int] | None = None

    def hold(self, size: int) -> None:
        """Count `size` bytes as held until the request is done. Raises Overloaded."""
        self._share.take(size)

    async def put(self, sifted: Sifted, places: int) -> None:
        """Publish a batch of `places` lines or items, once the one before is acknowledged.

        Raises DependencyUnavailable when that one was not, or when no more can be held (Overloaded).
        """
        await self.settle()
        self.hold(sum(rejection.size for rejection in sifted.rejected))
        publishing = asyncio.create_task(self._publisher.publish(sifted.accepted, VIA))
        self._under_way = (publishing, sifted, places)

    async def settle(self) -> None:
        """Wait until all that was put is acknowledged, and count it. Raises DependencyUnavailable."""
        if self._under_way is None:
            return
        publishing, sifted, places = self._under_way
        self._under_way = None
        await publishing
        self._taken.add(sifted, places)
