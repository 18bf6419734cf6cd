"""Looks for spikes every few seconds: ClickHouse in; the topic `spikes`, ClickHouse, metrics and alerts out.

The worker that holds partition 0 of mentions.enriched looks; another takes over when that one is gone, and
goes on with the spikes that are kept. A spike is kept first and published second; what was on, or changed
within the hour, when a worker begins is published anew, with the same key and id.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.metrics.alerts import send, to_send
from services.metrics.baseline import HISTORY_WEEKS
from services.metrics.episodes import Episodes, follow
from services.metrics.source_health import RETIRED_SECONDS
from services.metrics.spike_metrics import SpikeMetrics
from services.metrics.spike_store import SpikeStore
from services.metrics.spikes import Rules, judge
from services.metrics.usual import Usual, learn_all, silences, situations, source_states
from shared.clock import Clock, SystemClock
from shared.errors import DependencyUnavailable
from shared.kafka import close_producer, new_producer
from shared.metrics_catalogue import (
    DISK_FREE_BYTES,
    DISK_TOTAL_BYTES,
    SPIKE_EVALUATION_SECONDS,
    SPIKE_LAST_EVALUATION,
)
from shared.settings import Settings
from shared.spike_events import Spike
from shared.topics import Topic

log = structlog.get_logger()
Result = TypeVar("Result")
LEARN_SECONDS = 60.0
LEARN_SHARE = 0.05
"""What is usual is learnt anew every minute, if that takes at most this part of the time."""
CLOSE_SECONDS = 0.7


class Watch:
    """The detector at work. `held` tells which partitions this worker has."""

    def __init__(
        self,
        settings: Settings,
        brands: Iterable[str],
        held: Callable[[], Iterable[int]],
        *,
        open_store: Callable[[Settings], SpikeStore] = SpikeStore.open,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._zone = ZoneInfo(settings.page_timezone)
        self._held = held
        self._open_store = open_store
        self._clock = clock or SystemClock()
        self._metrics = SpikeMetrics(brands)
        self._store: SpikeStore | None = None
        self._producer: AIOKafkaProducer | None = None
        self._episodes: Episodes | None = None
        self._pending: dict[UUID, Spike] = {}
        self._usual: Usual | None = None
        self._learn_at = 0.0

    async def run(self) -> None:
        """Look for ever, until cancelled. An outage of ClickHouse or Kafka is waited out."""
        try:
            while True:
                if 0 in self._held():
                    await self._look_or_wait()
                else:
                    self._rest()
                await asyncio.sleep(self._settings.spike_check_seconds)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of Kafka and ClickHouse."""
        if self._producer is not None:
            await close_producer(self._producer, CLOSE_SECONDS)
        if self._store is not None:
            self._store.close()

    async def _look_or_wait(self) -> None:
        started = self._clock.monotonic()
        try:
            await self.look()
        except (DependencyUnavailable, KafkaError) as error:
            log.warning(
                "spikes_not_looked_for", reason=str(error) or repr(error), then="looked for again soon"
            )
        else:
            SPIKE_EVALUATION_SECONDS.observe(self._clock.monotonic() - started)
            SPIKE_LAST_EVALUATION.set(self._clock.now().timestamp())

    def _rest(self) -> None:
        """Forget what another worker now knows better."""
        if self._episodes is not None:
            self._episodes = None
            self._pending.clear()
            self._metrics.clear()

    async def look(self) -> None:
        """Look once, and see to it that everybody knows. Raises DependencyUnavailable and KafkaError."""
        now = self._clock.now()
        if self._episodes is None:
            await self._take_over(now)
        episodes = self._episodes or Episodes({})
        usual = await self._learnt(now)
        complaints = await self._ask(lambda store: store.recent(now - timedelta(days=1), now))
        since = now - timedelta(seconds=RETIRED_SECONDS + 86_400)
        newest = await self._ask(lambda store: store.newest(since, now))
        states = source_states(usual, newest, now.timestamp(), self._zone)
        judgement = await asyncio.to_thread(
            judge, situations(usual, complaints, states, episodes, now.timestamp()), self._zone, Rules()
        )
        followed, changed = follow(episodes, judgement, silences(states, now.timestamp()), now)
        await self._ask(lambda store: store.save(changed, now))
        for disk in await self._ask(lambda store: store.disks()):
            DISK_FREE_BYTES.labels(disk.name).set(disk.free)
            DISK_TOTAL_BYTES.labels(disk.name).set(disk.total)
        self._episodes = followed
        self._pending |= {spike.id: spike for spike in changed}
        self._metrics.show(followed, changed, states.values())
        await self._alert(followed, now)
        await self._publish()

    async def _take_over(self, now: datetime) -> None:
        kept = await self._ask(lambda store: store.spikes(now - timedelta(days=1)))
        hour_ago = now - timedelta(hours=1)
        self._episodes = Episodes({spike.id: spike for spike in kept})
        self._pending = {s.id: s for s in kept if s.ended_at is None or s.ended_at >= hour_ago}

    async def _learnt(self, now: datetime) -> Usual:
        started = self._clock.monotonic()
        if self._usual is None or started >= self._learn_at:
            end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            past = await self._ask(lambda store: store.past(end - timedelta(weeks=HISTORY_WEEKS), end))
            self._usual = await asyncio.to_thread(learn_all, past, self._zone)
            ended = self._clock.monotonic()
            self._learn_at = ended + max(LEARN_SECONDS, (ended - started) / LEARN_SHARE)
        return self._usual

    async def _publish(self) -> None:
        if not self._pending:
            return
        if self._producer is None:
            producer = new_producer(self._settings)
            await producer.start()
            self._producer = producer
        for spike in list(self._pending.values()):
            await self._producer.send_and_wait(Topic.SPIKES, spike.model_dump_json().encode(), spike.key)
            del self._pending[spike.id]
            log.info(
                "spike_published", spike=str(spike.id), kind=spike.kind, state=spike.state, brand=spike.brand
            )

    async def _alert(self, episodes: Episodes, now: datetime) -> None:
        """Tell Alertmanager, if there is one. What it does not take is sent again at the next look."""
        if self._settings.alertmanager_url is None:
            return
        try:
            async with httpx.AsyncClient() as client:
                await send(client, self._settings.alertmanager_url, to_send(episodes.spikes.values(), now))
        except httpx.HTTPError as error:
            log.warning("alertmanager_unavailable", reason=repr(error), then="sent again at the next look")

    async def _ask(self, work: Callable[[SpikeStore], Result]) -> Result:
        return await asyncio.to_thread(self._with_store, work)

    def _with_store(self, work: Callable[[SpikeStore], Result]) -> Result:
        if self._store is None:
            self._store = self._open_store(self._settings)
        return work(self._store)
