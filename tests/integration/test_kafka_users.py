"""What the users of deploy/k8s may do on a real Kafka: what their service does, and no more."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.admin import CreateAclsRequest
from pydantic import SecretStr

from deploy.local import kafka
from deploy.local.kafka import KafkaNode, prepare_kafka, server_properties
from services.enrich.app import GROUP, Worker
from services.ingest.budget import Budget
from services.ingest.checkpoints import CheckpointStore
from services.ingest.publish import Publisher
from services.metrics.sink import Sink
from shared.clock import SystemClock
from shared.dead_letter_box import DeadLetterBox, Wanted
from shared.events import Mention
from shared.kafka import connection_options, new_consumer, new_producer
from shared.settings import Settings
from shared.topics import Topic, create_topics
from tests.conftest import BRANDS, report
from tests.integration.waiting import until

pytestmark = pytest.mark.io
USERS = Path(__file__).parents[2] / "deploy/k8s/overlays/operators/kafka.yaml"
RESOURCES = {"topic": 2, "group": 3}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
LITERAL = ALLOW = 3
PASSWORD = "secret-of-a-test"
ROOT = "root"
# Who may write nowhere is not let near a producer's number: that is the cluster's to give.
REFUSED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)

SettingsOf = Callable[[str], Settings]


def users() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return the rules of each user that the overlay makes."""
    return {
        one["metadata"]["name"]: one["spec"]["authorization"]["acls"]
        for one in yaml.safe_load_all(USERS.read_text(encoding="utf-8"))
        if one["kind"] == "KafkaUser"
    }


def guarded(node: KafkaNode) -> str:
    """Return the properties of a server that asks who one is and allows nobody but root anything."""
    known = "".join(f' user_{name}="{PASSWORD}"' for name in (ROOT, *users()))
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{ROOT}"'
    added = {
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f'{login} password="{PASSWORD}"{known};',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The controller, on a port of its own, does not ask.
        "super.users": f"User:{ROOT};User:ANONYMOUS",
    }
    plain = server_properties(node).replace("PLAINTEXT:PLAINTEXT,", "PLAINTEXT:SASL_PLAINTEXT,")
    return plain + "".join(f"{name}={value}\n" for name, value in added.items())


@pytest.fixture(scope="module")
async def settings_of(
    store_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SettingsOf]:
    """Return the settings of a user, on a Kafka that has the rules and nothing else of theirs."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "klankbord.toml").write_text(BRANDS, encoding="utf-8")
    with contextlib.ExitStack() as free:
        sockets = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        port, controller = (one.getsockname()[1] for one in sockets)
    node = KafkaNode(directory, directory / "kafka.log", port, controller)

    def settings(name: str) -> Settings:
        return store_settings.model_copy(
            update={
                "kafka_bootstrap_servers": node.bootstrap_servers,
                "kafka_security_protocol": "SASL_PLAINTEXT",
                "kafka_sasl_mechanism": "PLAIN",
                "kafka_sasl_username": name,
                "kafka_sasl_password": SecretStr(PASSWORD),
                "config_file": directory / "klankbord.toml",
            }
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "server_properties", guarded)
        jars = await asyncio.to_thread(kafka.resolve_jars, lambda *_: None, threading.Event())
        process = await prepare_kafka(node, jars, report)
    await process.start()
    await process.wait_until_ready(60)
    try:
        await allow(settings(ROOT))
        await create_topics(settings("klankbord"))
        yield settings
    finally:
        await process.stop(10)


async def allow(root: Settings) -> None:
    """Make the rules, as Strimzi's operator does."""
    admin = AIOKafkaAdminClient(**connection_options(root))
    await admin.start()
    try:
        for name, rules in users().items():
            for rule in rules:
                resource = rule["resource"]
                assert resource["patternType"] == "literal"
                for operation in rule["operations"]:
                    request = CreateAclsRequest(
                        RESOURCES[resource["type"]],
                        resource["name"],
                        LITERAL,
                        f"User:{name}",
                        "*",
                        OPERATIONS[operation],
                        ALLOW,
                    )
                    answer = await admin._send_request(request)
                    for code, message, *_ in answer.creation_responses:
                        assert code == 0, (for_code(code), message)
    finally:
        await admin.close()


async def test_each_service_can_do_its_work(settings_of: SettingsOf) -> None:
    clock = SystemClock()
    publisher = Publisher(settings_of("klankbord-ingest"), clock, Budget(1_000_000))
    worker, stopping = Worker(settings_of("klankbord-enrich"), GROUP), asyncio.Event()
    sink = Sink(settings_of("klankbord-metrics"))
    await publisher.start()
    tasks = [asyncio.create_task(worker.run(stopping)), asyncio.create_task(sink.run())]
    try:

        async def connected() -> bool:
            return not await publisher.waiting_for()

        await until(connected, pause)
        good = Mention(source="users", text="Niks gehoord", brand="Acme Zorg", published_at=datetime.now(UTC))
        await publisher.publish([good], "http")
        await write(settings_of(ROOT), Topic.RAW, b"no mention")
        await until(lambda: committed(settings_of(ROOT)), pause)
    finally:
        stopping.set()
        sink.stop()
        await asyncio.gather(*tasks, publisher.stop())
    box = DeadLetterBox(settings_of("klankbord-api"), clock)
    (letter,) = (await box.page(Wanted(), 10)).letters
    assert (letter.value, letter.service) == (b"no mention", "enrich")
    assert (await DeadLetterBox(settings_of("klankbord"), clock).replay([letter])).sent == (letter.number,)
    checkpoints = CheckpointStore(settings_of("klankbord-ingest"))
    await checkpoints.start()
    await checkpoints.put("feed", {"etag": "x"})
    await checkpoints.stop()
    await checkpoints.start()
    assert checkpoints.get("feed") == {"etag": "x"}
    await checkpoints.stop()


@asynccontextmanager
async def consuming(settings: Settings, group: str | None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer: AIOKafkaConsumer = new_consumer(settings=settings, group_id=group)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def committed(settings: Settings) -> bool:
    """Whether the sink has committed the one mention."""
    async with consuming(settings, "klankbord-metrics") as consumer:
        done = [
            await consumer.committed(TopicPartition(Topic.ENRICHED.value, number)) or 0
            for number in range(settings.kafka_partitions)
        ]
    return sum(done) == 1


async def write(settings: Settings, topic: Topic, value: bytes) -> None:
    producer = new_producer(settings)
    try:
        await producer.start()
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(settings: Settings, topic: Topic) -> None:
    async with consuming(settings, None) as consumer:
        if topic not in await consumer.topics():
            # Who may do nothing with a topic is not told that it is there; aiokafka would ask for ever.
            raise TopicAuthorizationFailedError(topic)
        consumer.assign([TopicPartition(topic.value, 0)])
        await consumer.seek_to_beginning()
        await consumer.getone()


async def join(settings: Settings, group: str) -> None:
    async with consuming(settings, group) as consumer:
        await consumer.committed(TopicPartition(Topic.RAW.value, 0))


@pytest.mark.parametrize(
    ("user", "forbidden"),
    [
        ("klankbord-ingest", lambda s: read(s, Topic.RAW)),
        ("klankbord-ingest", lambda s: write(s, Topic.ENRICHED, b"x")),
        ("klankbord-enrich", lambda s: write(s, Topic.RAW, b"x")),
        ("klankbord-enrich", lambda s: read(s, Topic.DEAD)),
        ("klankbord-enrich", lambda s: join(s, "klankbord-metrics")),
        ("klankbord-metrics", lambda s: write(s, Topic.ENRICHED, b"x")),
        ("klankbord-metrics", lambda s: read(s, Topic.RAW)),
        ("klankbord-api", lambda s: read(s, Topic.RAW)),
        ("klankbord-api", lambda s: write(s, Topic.CORRECTIONS, b"x")),
        ("klankbord-scaler", lambda s: read(s, Topic.RAW)),
    ],
)
async def test_no_service_can_do_what_another_does(
    settings_of: SettingsOf, user: str, forbidden: Callable[[Settings], Awaitable[None]]
) -> None:
    with pytest.raises(REFUSED):
        async with asyncio.timeout(10):
            await forbidden(settings_of(user))


async def pause() -> None:
    await asyncio.sleep(0.3)
