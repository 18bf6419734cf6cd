"""Fetching Kafka's jars: only what the lock names is ever used."""

import functools
import gc
import hashlib
import threading
import warnings
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jgo.env import LockFile
from jgo.env._lockfile import LockedDependency
from jgo.maven import MavenContext

from deploy.local import kafka
from deploy.local.kafka import resolve_jars
from shared.errors import StackError

pytestmark = pytest.mark.io

JARS = {"een": b"first jar", "twee": b"second jar"}
Steps = list[tuple[int, int]]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


def place(repository: Path, name: str) -> Path:
    return repository / "org" / "example" / name / "1.0" / f"{name}-1.0.jar"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "remote"
    for name, content in JARS.items():
        place(folder, name).parent.mkdir(parents=True)
        place(folder, name).write_bytes(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _sockets_that_jgo_leaves_open() -> Iterator[None]:
    # It does not close the answer to a request that failed; here that must not count against a later test.
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    locked = [
        LockedDependency("org.example", name, "1.0", sha256=hashlib.sha256(content).hexdigest())
        for name, content in JARS.items()
    ]
    LockFile(locked).save(tmp_path / "lock.toml")
    return tmp_path / "lock.toml"


@pytest.fixture
def cache(tmp_path: Path, remote: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    context = functools.partial(MavenContext, repo_cache=tmp_path / "cache", remote_repos={"here": remote[1]})
    monkeypatch.setattr(kafka, "MavenContext", context)
    return tmp_path / "cache"


def resolve(lock_file: Path) -> tuple[list[bytes], Steps]:
    steps: Steps = []
    paths = resolve_jars(lambda done, total: steps.append((done, total)), threading.Event(), lock_file)
    return [path.read_bytes() for path in paths], sorted(steps)


def test_they_are_fetched_once(lock_file: Path, cache: Path) -> None:
    assert resolve(lock_file) == ([b"first jar", b"second jar"], [(1, 2), (2, 2)])
    assert resolve(lock_file) == ([b"first jar", b"second jar"], [])
    assert place(cache, "een").exists()


def test_a_download_that_was_broken_off_is_done_again(lock_file: Path, cache: Path) -> None:
    place(cache, "twee").parent.mkdir(parents=True)
    place(cache, "twee").write_bytes(b"second j")
    assert resolve(lock_file)[0] == [b"first jar", b"second jar"]
    assert place(cache, "twee").read_bytes() == b"second jar"


def test_a_jar_that_is_not_the_locked_one_is_refused_and_deleted(
    lock_file: Path, cache: Path, remote: tuple[Path, str]
) -> None:
    place(remote[0], "twee").write_bytes(b"something else")
    with pytest.raises(
        StackError, match=r"twee-1\.0\.jar, just fetched .* is not the file .* It was deleted"
    ):
        resolve(lock_file)
    assert not place(cache, "twee").exists()


def test_a_jar_that_is_not_there_is_an_error_that_says_what_to_do(
    lock_file: Path, cache: Path, remote: tuple[Path, str]
) -> None:
    place(remote[0], "een").unlink()
    with pytest.raises(
        StackError, match=r"een-1\.0\.jar cannot be fetched .* start again: what was fetched is kept"
    ):
        resolve(lock_file)


def test_it_can_be_stopped(lock_file: Path, cache: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(StackError, match="was stopped"):
        resolve_jars(lambda _done, _total: None, stopped, lock_file)
    assert not cache.exists()
