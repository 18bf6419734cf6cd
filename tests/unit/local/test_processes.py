import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import processes
from deploy.local.processes import backoff_seconds, die_with_parent, rotate, tail


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (99, 30.0)]
)
def test_the_pause_doubles_up_to_half_a_minute(failures: int, longest: float) -> None:
    assert backoff_seconds(failures, 0.0) == longest / 2
    assert backoff_seconds(failures, 0.5) == longest * 0.75


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_the_pause_has_bounds(failures: int, chance: float) -> None:
    assert 0.25 <= backoff_seconds(failures, chance) <= 30.0


def test_a_log_that_grew_is_moved_aside_over_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", 10)
    log = tmp_path / "logs" / "api.log"
    rotate(log)
    assert log.parent.is_dir()
    log.write_text("0123456789")
    rotate(log)
    assert log.read_text() == "0123456789"
    log.write_text("0123456789a")
    (tmp_path / "logs" / "api.log.1").write_text("old")
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "logs" / "api.log.1").read_text() == "0123456789a"


def test_the_tail_is_the_last_lines_that_say_something(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert tail(log, 3) == []
    log.write_text("een\n\ntwee\ndrie\n  \nvier\n")
    assert tail(log, 2) == ["drie", "vier"]
    log.write_bytes(b"x" * 100_000 + b"\nlast \xff\n")
    assert tail(log, 1) == ["last �"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_on_linux_a_child_asks_to_die_with_its_parent() -> None:
    assert callable(die_with_parent(os.getpid()))


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert die_with_parent(os.getpid()) is None
