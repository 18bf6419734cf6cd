"""The schedule of faults and what is sent follow from the seed alone, and nothing is left out."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.events import parse_mention
from tests.chaos.run import Plan, Result
from tests.chaos.schedule import FREEZES, PAUSES, Fault, schedule
from tests.chaos.workload import batches, mention, poison

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@given(st.integers(0, 10**6), st.floats(1, 900))
def test_a_seed_gives_the_same_strikes_within_the_time(seed: int, seconds: float) -> None:
    strikes = schedule(seed, seconds, ("a", "b", "c"))
    assert strikes == schedule(seed, seconds, ("a", "b", "c"))
    assert all(strike.at < seconds + 0.01 for strike in strikes)
    assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)
    assert all(strike.lasts == 0 or FREEZES[0] <= strike.lasts <= FREEZES[1] for strike in strikes)
    assert all((strike.lasts > 0) == (strike.fault is Fault.FREEZE) for strike in strikes)


@given(st.integers(0, 10**6))
def test_nobody_is_spared(seed: int) -> None:
    strikes = schedule(seed, PAUSES[1] * 8, ("a", "b", "c"))
    assert {strike.target for strike in strikes} == {"a", "b", "c"}


@given(st.integers(0, 10**6), st.integers(1, 500))
def test_batches_hold_each_mention_and_all_are_good(seed: int, mentions: int) -> None:
    sent = [one for batch in batches(seed, mentions, 60, NOW) for one in batch]
    assert {one["external_id"] for one in sent} == {f"{seed}-{number}" for number in range(mentions)}
    assert sent[0] == mention(seed, 0, NOW)
    parse_mention(json.dumps(sent[-1]), NOW)


def test_poison_is_different_each() -> None:
    assert len({message for message, _ in poison(1)}) == len(poison(1)) >= 8


def test_a_result_fails_on_what_is_missing_doubled_or_uncounted() -> None:
    def result(stored: dict[str, int], counted: int) -> Result:
        made = Result(Plan(1, 2, 1))
        made.acknowledged = {"a", "b"}
        made.stored.update(stored)
        made.counted = counted
        return made

    assert result({"a": 1, "b": 1}, 2).passed
    assert result({"a": 1}, 1).missing == ["b"]
    assert not result({"a": 1}, 1).passed
    assert result({"a": 1, "b": 2}, 2).twice == ["b"]
    assert not result({"a": 1, "b": 2}, 2).passed
    assert not result({"a": 1, "b": 1}, 3).passed
    assert result({"a": 1, "b": 1}, 2).lines()[-1] == "PASS"


def test_a_result_fails_on_poison_that_is_not_put_aside_or_for_another_reason() -> None:
    made = Result(Plan(1, 0, 1), poisoned={(b"x", "schema")})
    assert not made.passed
    made.dead = {(b"x", "undecodable")}
    assert not made.passed
    assert "not as meant: schema b'x', undecodable b'x'" in made.lines()
    made.dead = {(b"x", "schema")}
    assert made.passed
    made.dead |= {(b"a good one", "enrichment_error")}
    assert not made.passed
