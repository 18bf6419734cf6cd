"""Every Kafka topic: name, key, schema, retention. Created by `klankbord topics` and nowhere else."""

from dataclasses import dataclass
from enum import StrEnum

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from pydantic import BaseModel

from shared.correction_events import Correction
from shared.events import EnrichedMention, RawMention
from shared.kafka import connection_options
from shared.settings import Settings
from shared.spike_events import Spike

_DAY_MS = 86_400_000
_MIB = 1_048_576


class Topic(StrEnum):
    """The topics' names."""

    RAW = "mentions.raw"
    ENRICHED = "mentions.enriched"
    DEAD = "mentions.dead"
    CHECKPOINTS = "ingest.checkpoints"
    SPIKES = "spikes"
    REPLAYS = "mentions.dead.replays"
    CORRECTIONS = "corrections"


@dataclass(frozen=True)
class TopicSpec:
    """What a topic is like. `partitions` None: as many as the settings say."""

    key: str
    schema: type[BaseModel] | None
    config: dict[str, str]
    partitions: int | None = None


TOPICS: dict[Topic, TopicSpec] = {
    Topic.RAW: TopicSpec(
        key="conversation_id, else the mention's id",
        schema=RawMention,
        config={"retention.ms": str(30 * _DAY_MS), "max.message.bytes": str(4 * _MIB)},
    ),
    Topic.ENRICHED: TopicSpec(
        key="that of the raw mention",
        schema=EnrichedMention,
        config={"retention.ms": str(30 * _DAY_MS), "max.message.bytes": str(4 * _MIB)},
    ),
    # Schema None: a dead letter's value is the original bytes; what is known of it is in its headers.
    # Larger than the others: whatever they take must fit in here, with those headers.
    Topic.DEAD: TopicSpec(
        key="that of the original message",
        schema=None,
        config={"retention.ms": str(90 * _DAY_MS), "max.message.bytes": str(8 * _MIB)},
        partitions=1,
    ),
    Topic.CHECKPOINTS: TopicSpec(
        key="the connector's name",
        schema=None,
        # Only closed segments are compacted, and ingest reads all of it at start: keep them small.
        config={"cleanup.policy": "compact", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.2"},
        partitions=1,
    ),
    # Which dead letters were sent again: without it nobody could tell which not to send twice.
    Topic.REPLAYS: TopicSpec(
        key="the dead letter's number",
        schema=None,
        config={"cleanup.policy": "compact", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.2"},
        partitions=1,
    ),
    # Kept for good: the store can be filled from it anew.
    Topic.CORRECTIONS: TopicSpec(
        key="the mention's id and the label",
        schema=Correction,
        config={"cleanup.policy": "compact"},
        partitions=1,
    ),
    Topic.SPIKES: TopicSpec(
        key="the spike's id",
        schema=Spike,
        config={"retention.ms": str(30 * _DAY_MS)},
        partitions=1,
    ),
}


async def create_topics(settings: Settings) -> list[Topic]:
    """Create the topics that are not there yet; return those that were created.

    Raises aiokafka's KafkaError when the broker refuses.
    """
    admin = AIOKafkaAdminClient(**connection_options(settings))
    await admin.start()
    try:
        present = set(await admin.list_topics())
        wanted = [_new_topic(topic, settings) for topic in Topic if topic not in present]
        if not wanted:
            return []
        response = await admin.create_topics(wanted, timeout_ms=30_000)
    finally:
        await admin.close()
    created = []
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(Topic(name))
        elif error is not TopicAlreadyExistsError:
            raise error(f"creating the topic {name}")
    return created


def _new_topic(topic: Topic, settings: Settings) -> NewTopic:
    spec = TOPICS[topic]
    return NewTopic(
        name=topic.value,
        num_partitions=spec.partitions or settings.kafka_partitions,
        replication_factor=settings.kafka_replication_factor,
        topic_configs=spec.config,
    )
