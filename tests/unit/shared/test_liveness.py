"""A consumer that stands still with work waiting is noticed; one that is idle or excused is not."""

import asyncio
from datetime import UTC, datetime

import pytest

from shared import liveness
from shared.clock import ManualClock
from shared.liveness import StallDetector, Standing, exit_when_stalled

LIMIT = 60.0


def new() -> tuple[StallDetector, ManualClock]:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    return StallDetector(LIMIT, clock), clock


def test_standing_still_with_work_waiting_is_a_stall_after_the_limit() -> None:
    detector, clock = new()
    assert not detector.stalled(5, work_waiting=True)
    clock.advance(LIMIT - 1)
    assert not detector.stalled(5, work_waiting=True)
    clock.advance(1)
    assert detector.stalled(5, work_waiting=True)


def test_progress_starts_the_count_anew() -> None:
    detector, clock = new()
    for position in range(10):
        clock.advance(LIMIT - 1)
        assert not detector.stalled(position, work_waiting=True)


def test_idleness_and_a_known_outage_are_no_stall() -> None:
    detector, clock = new()
    for _ in range(10):
        clock.advance(LIMIT)
        assert not detector.stalled(1, work_waiting=False)
        clock.advance(LIMIT)
        assert not detector.stalled(1, work_waiting=True, excused=True)
    clock.advance(LIMIT)
    assert detector.stalled(1, work_waiting=True)


async def test_a_process_that_stands_still_is_ended_and_one_that_is_excused_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(liveness, "EVERY_SECONDS", 0.001)
    detector, clock = new()
    asked, ended = 0, list[int]()

    def ask() -> Standing:
        nonlocal asked
        asked += 1
        clock.advance(LIMIT / 2)
        return Standing("here", 7, excused=asked < 10)

    async with asyncio.timeout(5):
        await exit_when_stalled(detector, ask, ended.append)
    assert ended == [1]
    assert asked == 11
    assert "stalled" in capsys.readouterr().out
