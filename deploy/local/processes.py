"""Child processes of the launcher: none outlives it, each has its log file, one that dies is started again.

`ChildProcess.start` runs the command once; `ChildProcess.keep_alive` supervises it from then on, with
exponential backoff. A child has its own process group, so that Ctrl-C in the terminal reaches the launcher
only, and is killed by the kernel when the launcher dies (PR_SET_PDEATHSIG), however it dies.
"""

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shared.errors import StackError

MAX_LOG_BYTES = 16_777_216
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
# A child that ran this long was healthy: its next failure is a first one.
_HEALTHY_SECONDS = 60.0
_TAIL_BYTES = 65_536

Probe = Callable[[], Awaitable[bool]]
"""Answers whether a process is ready; it may be asked many times, and raises nothing."""


class Report(Protocol):
    """Takes what a person at the terminal should know; `fields` go to the launcher's own log."""

    def __call__(self, message: str, **fields: Any) -> None:
        """Say `message`."""
        ...


@dataclass(frozen=True)
class Command:
    """What to run: the argument vector, and what its environment and working directory are."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log_file: Path


@dataclass
class ChildProcess:
    """One child process. Make it and call its methods on one event loop, in the main thread.

    The main thread, because the kernel ties PR_SET_PDEATHSIG to the thread that forked.
    """

    command: Command
    report: Report
    probe: Probe | None = None
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _supervisor: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """What people call it, also the name of its log file."""
        return self.command.name

    @property
    def pid(self) -> int | None:
        """The process id, None when it does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start it, its output appended to its log file. Raises StackError when it cannot be run at all."""
        rotate(self.command.log_file)
        with self.command.log_file.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command.argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(self.command.environment),
                    cwd=self.command.directory,
                    process_group=0,
                    preexec_fn=die_with_parent(os.getpid()),
                )
            except OSError as error:
                raise StackError(f"{self.name} cannot be started: {error}.") from error

    async def wait_until_ready(self, seconds: float) -> None:
        """Wait until the probe says yes.

        Raises StackError, with the end of its log, when it dies or takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while self.probe is not None and not await self.probe():
            if self.pid is None:
                raise StackError(f"{self.name} stopped while it started{self._exit()}.\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} was not ready within {seconds:.0f} s; it still runs.\n{self.last_lines()}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def finish(self, seconds: float) -> int:
        """Wait until it ends by itself, return its exit code. Raises StackError when it takes too long."""
        assert self._process is not None, "finish comes after start"
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            raise StackError(
                f"{self.name} did not end within {seconds:.0f} s.\n{self.last_lines()}"
            ) from None
        finally:
            await self.stop(0)

    def keep_alive(self) -> None:
        """From now on start it again whenever it dies."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise {self.name}")

    async def stop(self, seconds: float) -> None:
        """Stop it, if it runs: SIGTERM, and SIGKILL when it still runs after `seconds`."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        if self._process is None or self.pid is None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            self.report(f"{self.name} did not stop within {seconds:.1f} s: killed", process=self.name)
            self._process.kill()
            await self._process.wait()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            assert self._process is not None, "keep_alive comes after start"
            await self._process.wait()
            failures = 1 if time.monotonic() - started > _HEALTHY_SECONDS else failures + 1
            await self._start_again(failures)

    async def _start_again(self, failures: int) -> None:
        pause = backoff_seconds(failures, random.random())
        lines = tail(self.command.log_file, 1)
        self.report(
            f"{self.name} died{self._exit()}; starting it again in {pause:.1f} s. Its last line: "
            f"{lines[0][:300] if lines else '(none)'}",
            process=self.name,
            failures=failures,
        )
        await asyncio.sleep(pause)
        try:
            await self.start()
            await self.wait_until_ready(_HEALTHY_SECONDS)
        except StackError as error:
            # The caller's loop waits for the process: one that is up but not ready goes on, a dead one is
            # started again.
            self.report(str(error).splitlines()[0], process=self.name)
        else:
            self.report(f"{self.name} runs again", process=self.name)

    def _exit(self) -> str:
        code = self._process.returncode if self._process else None
        if code is None:
            return ""
        return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"

    def last_lines(self) -> str:
        """Return the end of its log, for an error message."""
        shown = "\n".join(f"  {line[:500]}" for line in tail(self.command.log_file, 12))
        return f"The end of {self.command.log_file}:\n{shown or '  (empty)'}"


def backoff_seconds(failures: int, chance: float) -> float:
    """Return how long to wait before start number `failures` + 1: 0.5 s doubling to 30 s, half of it jitter.

    `chance` is in [0, 1).
    """
    longest = min(30.0, 0.5 * 2.0 ** (min(failures, 20) - 1))
    return longest * (0.5 + chance / 2)


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what the child calls between fork and exec so that the kernel kills it when `parent` dies.

    None where the kernel cannot do that (it is Linux's).
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: between fork and exec nothing may wait for a lock.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        # The parent may have died before the request: then nobody will tell.
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def rotate(log_file: Path) -> None:
    """Move a log file that has grown past MAX_LOG_BYTES to `<name>.1`, over an earlier one."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > MAX_LOG_BYTES:
        log_file.replace(log_file.with_name(f"{log_file.name}.1"))


def tail(log_file: Path, lines: int) -> list[str]:
    """Return the last `lines` lines that are not empty; none when there is no such file."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, log_file.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return []
    return list(deque((line for line in text.splitlines() if line.strip()), maxlen=lines))
