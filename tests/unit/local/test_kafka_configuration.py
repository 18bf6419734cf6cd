from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import UUID

import pytest
from jgo.env import LockFile

from deploy.local.kafka import (
    LOCK_FILE,
    KafkaNode,
    logging_properties,
    new_cluster_id,
    server_properties,
)

NODE = KafkaNode(Path("/data/kafka"), Path("/data/logs/kafka.log"), port=19092, controller_port=19093)


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_kafka_listens_on_loopback_only() -> None:
    found = properties(server_properties(NODE))
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"
    assert found["advertised.listeners"] == "PLAINTEXT://127.0.0.1:19092"
    assert found["controller.quorum.bootstrap.servers"] == "127.0.0.1:19093"
    assert NODE.bootstrap_servers == "127.0.0.1:19092"


def test_kafka_takes_what_the_producer_may_send_and_makes_no_topics_by_itself() -> None:
    found = properties(server_properties(NODE))
    assert found["message.max.bytes"] == "8388608"
    assert found["auto.create.topics.enable"] == "false"
    assert found["log.dirs"] == "/data/kafka/log"


def test_its_log_is_bounded() -> None:
    text = logging_properties(NODE.log_file)
    assert "appender.file.fileName = /data/logs/kafka.log\n" in text
    assert "policies.size.size = 8MB" in text
    assert "strategy.max = 1" in text


def test_every_jar_is_locked_by_version_and_digest() -> None:
    jars = LockFile.load(LOCK_FILE).dependencies
    names = {jar.artifactId for jar in jars}
    assert len(names) == len(jars) == 46
    assert {"kafka_2.13", "kafka-clients", "log4j-slf4j-impl"} <= names
    assert {len(jar.sha256 or "") for jar in jars} == {64}
    assert not any("SNAPSHOT" in jar.version for jar in jars)


def test_a_cluster_id_is_never_taken_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    dashed, plain = UUID(bytes=b"\xfb" + bytes(15), version=4), UUID(int=1, version=4)
    made = iter([dashed, plain])
    monkeypatch.setattr("deploy.local.kafka.uuid.uuid4", lambda: next(made))
    assert new_cluster_id() == urlsafe_b64encode(plain.bytes).decode().rstrip("=")
