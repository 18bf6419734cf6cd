"""The launcher: who starts, who dies with whom, what is refused, what survives."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from deploy.local.processes import ChildProcess, Command
from deploy.local.stack import LocalStack
from shared.errors import StackError
from shared.kafka import new_consumer, new_producer
from shared.topics import Topic
from tests.conftest import RunningStack, new_stack, report

pytestmark = pytest.mark.io

KLANKBORD = Path(sys.executable).with_name("klankbord")
Said = list[str]


async def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        # A zombie has ended; only its parent has not asked yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def saying(said: Said) -> Callable[..., None]:
    def say(message: str, **fields: object) -> None:
        said.append(message)
        report(message, **fields)

    return say


@asynccontextmanager
async def child(tmp_path: Path, code: str, said: Said) -> AsyncIterator[ChildProcess]:
    command = Command("child", (sys.executable, "-c", code), os.environ, tmp_path, tmp_path / "child.log")
    process = ChildProcess(command, saying(said))
    try:
        yield process
    finally:
        await process.stop(5)


@asynccontextmanager
async def launcher(*argv: str | Path, directory: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=STDOUT, cwd=directory)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # communicate, not wait: it also closes the pipe.
        await process.communicate()


async def line_with(process: Process, text: str) -> str:
    assert process.stdout is not None
    seen = []
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode():
            seen.append(line)
            if text in line:
                return line
    raise AssertionError(f"{text!r} was never said, only:\n{''.join(seen)}")


async def test_a_child_that_dies_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    said: Said = []
    code = "import time; print('the last word', flush=True); time.sleep(600)"
    async with child(tmp_path, code, said) as process:
        await process.start()
        first = process.pid
        assert first
        process.keep_alive()
        await eventually(lambda: "the last word" in process.last_lines())
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: process.pid not in {None, first})
        await eventually(lambda: len(said) == 2)
        assert said[0].startswith("child died (SIGKILL); starting it again in 0.")
        assert said[0].endswith("Its last line: the last word")
        assert said[1] == "child runs again"
    assert process.pid is None


async def test_a_child_that_dies_while_it_starts_is_an_error_with_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with child(tmp_path, "raise SystemExit('the port is taken')", []) as process:
        process.probe = never
        await process.start()
        with pytest.raises(StackError, match=r"(?s)stopped while it started.*the port is taken"):
            await process.wait_until_ready(30)
        assert process.pid is None


async def test_a_child_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with child(tmp_path, "import time; time.sleep(600)", []) as process:
        process.probe = never
        await process.start()
        with pytest.raises(StackError, match="child was not ready within 0 s"):
            await process.wait_until_ready(0.2)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    said: Said = []
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);"
        "time.sleep(600)"
    )
    async with child(tmp_path, code, said) as process:
        await process.start()
        await eventually(lambda: "deaf" in process.last_lines())
        pid = process.pid
        assert pid
        await process.stop(0.2)
        assert not runs(pid)
    assert said == ["child did not stop within 0.2 s: killed"]


async def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    command = Command("nothing", ("/does/not/exist",), os.environ, tmp_path, tmp_path / "nothing.log")
    with pytest.raises(StackError, match="nothing cannot be started"):
        await ChildProcess(command, report).start()


async def test_kill_9_of_the_launcher_leaves_no_process(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "tests.integration.local_launcher", tmp_path)
    root = Path(__file__).parents[2]
    async with launcher(*argv, directory=root) as process:
        pids = json.loads(await line_with(process, '"kafka"'))
        assert sorted(pids) == ["clickhouse", "kafka"]
        assert all(runs(pid) for pid in pids.values())
        process.kill()
        await process.wait()
        await eventually(lambda: not any(runs(pid) for pid in pids.values()), seconds=10)
    # What it left behind, addresses.json and a lock file, is in nobody's way.
    running = new_stack(tmp_path)
    try:
        await running.start()
        assert sorted(running.pids) == ["clickhouse", "kafka"]
    finally:
        await running.stop()


async def test_kafka_keeps_what_it_has_also_at_other_ports(tmp_path: Path) -> None:
    running = new_stack(tmp_path)
    try:
        await running.start()
        before = running.settings.kafka_bootstrap_servers
        async with new_producer(running.settings) as producer:
            sent = await producer.send_and_wait(Topic.RAW, b"kept", key=b"k")
        await running.restart()
        assert running.settings.kafka_bootstrap_servers != before
        consumer = new_consumer(Topic.RAW, settings=running.settings, group_id=f"test-{uuid4()}")
        async with consumer:
            record = await asyncio.wait_for(consumer.getone(), 30)
        assert (record.value, record.key, record.offset) == (b"kept", b"k", sent.offset)
    finally:
        started = time.monotonic()
        await running.stop()
        assert time.monotonic() - started < 10
    assert running.pids == {}
    assert not (running.options.data_dir / "addresses.json").exists()


async def test_ctrl_c_while_it_starts_stops_it(tmp_path: Path) -> None:
    argv = (KLANKBORD, "up", "--no-sample", "--data-dir", tmp_path / "data")
    async with launcher(*argv, directory=tmp_path) as process:
        await line_with(process, "is ready")
        children = [int(pid) for pid in children_of(process.pid)]
        assert children
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        assert time.monotonic() - started < 10
        assert process.returncode == 0
        assert output.decode().splitlines()[-1].startswith("stopped (")
        assert not any(runs(pid) for pid in children)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_a_port_that_is_asked_for_and_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = (KLANKBORD, "up", "--no-sample", "--data-dir", tmp_path / "data", "--api-port", str(port))
        async with launcher(*argv, directory=tmp_path) as process:
            output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert f"Port {port}, asked for with --api-port, is taken on 127.0.0.1." in output.decode()
    assert "Traceback" not in output.decode()


async def test_a_second_stack_on_the_same_data_is_refused(stack: RunningStack) -> None:
    second = LocalStack(replace(stack.options), report)
    page = stack.api_url
    try:
        with pytest.raises(
            StackError, match=rf"already in use by process {os.getpid()} \(its page: {page}\)\. Stop that one"
        ):
            await second.start()
    finally:
        await second.stop()
    addresses = json.loads((stack.options.data_dir / "addresses.json").read_text())
    assert addresses["api_url"] == page
    assert addresses["ingest_url"] == stack.ingest_url
    assert addresses["pid"] == os.getpid()
    assert addresses["kafka_bootstrap_servers"] == stack.settings.kafka_bootstrap_servers
    assert addresses["clickhouse_url"] == stack.settings.clickhouse_url


@pytest.mark.parametrize("service", ["ingest", "enrich", "api"])
async def test_a_service_that_is_killed_comes_back(stack: RunningStack, service: str) -> None:
    first = stack.pids[service]
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: stack.pids.get(service, first) != first)
    port = getattr(stack.settings, f"{service}_port")
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as http:
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = await http.get("/readyz")
                if answer.status_code == 200:
                    break
            except httpx.TransportError:
                answer = None
            assert time.monotonic() < deadline, answer.text if answer else "no answer"
            await asyncio.sleep(0.05)
