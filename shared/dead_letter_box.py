"""Reads mentions.dead, and sends dead letters again after what was wrong is mended: each once.

The topic is the only store: what is in it can be listed, shown and sent again as long as Kafka keeps it (90
days). Which were sent again stands in a compacted topic of its own. A letter is noted after it was sent: a
crash between the two leads to a second sending, which counts nothing twice, as all goes by the mention's id.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.clock import Clock
from shared.dead_letters import DeadLetter, dead_letter_of
from shared.errors import DependencyUnavailable
from shared.kafka import close_producer, new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic

DEAD = TopicPartition(Topic.DEAD.value, 0)
REPLAYS = TopicPartition(Topic.REPLAYS.value, 0)
WINDOW = 500
"""Letters that are read at once, from the newest back."""
MAX_SCANNED = 100_000
"""Letters that are looked at, at most, for one answer."""
READ_SECONDS = 20.0
CLOSE_SECONDS = 5.0
REPLAYED_HEADER = "replayed-dead-letter"
_REPLAYABLE = frozenset({Topic.RAW.value, Topic.ENRICHED.value})


@dataclass(frozen=True)
class Wanted:
    """Which dead letters are asked for; None: whatever it is."""

    reason: str | None = None
    since: datetime | None = None

    def __contains__(self, letter: DeadLetter) -> bool:
        """Whether a letter is among them."""
        return self.reason in {None, letter.reason} and (self.since is None or letter.died_at >= self.since)


@dataclass(frozen=True)
class Page:
    """Some dead letters, newest first."""

    letters: tuple[DeadLetter, ...]
    next: int | None
    """Where the next page begins: below this number. None: there is nothing more."""
    replayed: frozenset[int]
    """The numbers, of those here, that were sent again."""


@dataclass(frozen=True)
class Replay:
    """What became of letters that were to be sent again."""

    sent: tuple[int, ...]
    before: tuple[int, ...]
    """Those that had been sent again before, and so were not."""
    incomplete: tuple[int, ...]
    """Those of which the original is not whole, or comes from no topic of ours."""


class DeadLetterBox:
    """The dead letters of one Kafka. Its methods raise DependencyUnavailable when Kafka does not answer."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def page(self, wanted: Wanted, limit: int, below: int | None = None) -> Page:
        """Return at most `limit` letters that are wanted, newest first; numbers below `below` only."""
        async with self._reading() as consumer:
            letters, following = await self._newest(consumer, wanted, limit, below)
            replayed = await self._replayed(consumer)
        return Page(tuple(letters), following, frozenset(replayed & {letter.number for letter in letters}))

    async def letter(self, number: int) -> tuple[DeadLetter, bool] | None:
        """Return the letter of that number, and whether it was sent again; None when there is none."""
        async with self._reading() as consumer:
            found = [letter async for letter in self._read(consumer, DEAD, number, number + 1)]
            replayed = await self._replayed(consumer)
        return (found[0], number in replayed) if found else None

    async def replay(
        self, letters: Iterable[DeadLetter], *, again: bool = False, dry_run: bool = False
    ) -> Replay:
        """Send letters to the topics that they came from; those that were sent before only with `again`.

        With `dry_run` nothing is sent; the answer says what would be.
        """
        async with self._reading() as consumer:
            replayed = await self._replayed(consumer)
        before: list[int] = []
        incomplete: list[int] = []
        ready: list[DeadLetter] = []
        for letter in letters:
            if letter.truncated is not None or letter.topic not in _REPLAYABLE:
                incomplete.append(letter.number)
            elif letter.number in replayed and not again:
                before.append(letter.number)
            else:
                ready.append(letter)
        if ready and not dry_run:
            await self._send(ready)
        return Replay(tuple(letter.number for letter in ready), tuple(before), tuple(incomplete))

    async def _send(self, letters: Iterable[DeadLetter]) -> None:
        producer = new_producer(self._settings)
        try:
            async with asyncio.timeout(READ_SECONDS):
                await producer.start()
            for letter in letters:
                number = str(letter.number).encode()
                headers = [*letter.headers, (REPLAYED_HEADER, number)]
                await producer.send_and_wait(letter.topic, letter.value, letter.key, headers=headers)
                note = json.dumps({"replayed_at": self._clock.now().isoformat()}).encode()
                await producer.send_and_wait(Topic.REPLAYS.value, note, number, partition=0)
        except (KafkaError, OSError, TimeoutError) as error:
            raise DependencyUnavailable("Kafka", repr(error)) from error
        finally:
            await close_producer(producer, CLOSE_SECONDS)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = new_consumer(settings=self._settings, group_id=None)
        try:
            async with asyncio.timeout(READ_SECONDS):
                await consumer.start()
                consumer.assign([DEAD, REPLAYS])
                yield consumer
        except (KafkaError, OSError, TimeoutError) as error:
            raise DependencyUnavailable("Kafka", repr(error)) from error
        finally:
            await consumer.stop()

    async def _newest(
        self, consumer: AIOKafkaConsumer, wanted: Wanted, limit: int, below: int | None
    ) -> tuple[list[DeadLetter], int | None]:
        first = (await consumer.beginning_offsets([DEAD]))[DEAD]
        end = (await consumer.end_offsets([DEAD]))[DEAD]
        if below is not None:
            end = min(end, below)
        stop = max(first, end - MAX_SCANNED)
        found: list[DeadLetter] = []
        while end > stop:
            begin = max(stop, end - WINDOW)
            window = [letter async for letter in self._read(consumer, DEAD, begin, end)]
            for letter in reversed(window):
                if letter in wanted:
                    found.append(letter)
                    if len(found) == limit:
                        return found, letter.number if letter.number > first else None
            end = begin
        return found, end if end > first else None

    async def _read(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, begin: int, end: int
    ) -> AsyncIterator[DeadLetter]:
        """Yield the letters with numbers in [begin, end)."""
        first = (await consumer.beginning_offsets([partition]))[partition]
        end = min(end, (await consumer.end_offsets([partition]))[partition])
        begin = max(begin, first)
        if begin >= end:
            return
        consumer.pause(DEAD, REPLAYS)
        consumer.resume(partition)
        consumer.seek(partition, begin)
        while await consumer.position(partition) < end:
            for record in (await consumer.getmany(partition, timeout_ms=500)).get(partition, []):
                if record.offset >= end:
                    return
                yield dead_letter_of(record)

    async def _replayed(self, consumer: AIOKafkaConsumer) -> set[int]:
        end = (await consumer.end_offsets([REPLAYS]))[REPLAYS]
        notes = [note async for note in self._read(consumer, REPLAYS, 0, end)]
        return {int(note.key) for note in notes if note.key is not None and note.key.isdigit()}
