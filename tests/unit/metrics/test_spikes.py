"""The detector on simulated employers: what is raised, what is not, and for what reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

import numpy as np
import pytest

from bench.spikes import (
    FIRST_HOUR,
    HISTORY_HOURS,
    ZONE,
    Scene,
    best_possible,
    history_until,
    ours,
    simulate,
)
from services.metrics.baseline import History, learn
from services.metrics.episodes import COOLDOWN_SECONDS, Episodes, follow
from services.metrics.seasons import HOUR, slot_of
from services.metrics.source_health import RETIRED_SECONDS, rhythm, state
from services.metrics.spikes import Complaint, Judgement, Rules, Situation, judge
from shared.events import Stage
from shared.spike_events import Severity, Spike, SpikeKind


@cache
def scene(rate: float) -> Scene:
    return simulate(rate, seed=7)


def monday_noon() -> float:
    """Return noon of the first watched day, 30 March 2026: the day after the clocks went forward."""
    return float((FIRST_HOUR + HISTORY_HOURS + 10) * HOUR)


def complaint(
    at: float, who: str, number: int, stage: str = "silence", source: str = "linkedin"
) -> Complaint:
    topics = ("response time",)
    return Complaint(
        at, "Acme", source, stage, topics, who, UUID(int=number), f"https://x.nl/{number}", "Stil"
    )


def burst(now: float, people: int, posts_each: int = 1) -> tuple[Complaint, ...]:
    return tuple(
        complaint(now - 600 + number / 10, f"new {number % people}", number)
        for number in range(people * posts_each)
    )


def look(
    now: float, complaints: tuple[Complaint, ...], rate: float = 1.0, **other: frozenset[str]
) -> Judgement:
    known = learn(history_until(scene(rate), now), ZONE)
    assert known is not None
    recent = [one for one in scene(rate).complaints if now - 86_400 <= one.at < now]
    everything = sorted([*recent, *complaints], key=lambda one: one.at)
    return judge([Situation(known, now, everything, **other)], ZONE, Rules())


def test_a_burst_says_where_about_what_how_far_above_normal_and_shows_three_people() -> None:
    found = look(monday_noon(), burst(monday_noon(), 40)).findings
    assert [one.kind for one in found] == [SpikeKind.SPIKE]
    assert (found[0].brand, found[0].stage, found[0].topics) == ("Acme", Stage.SILENCE, ("response time",))
    assert found[0].severity is Severity.CRITICAL
    assert found[0].authors >= 40 > 4 * found[0].expected_high > 4 * found[0].expected
    assert len({one.who for one in found[0].examples}) == 3


def test_one_author_with_a_hundred_posts_is_one_complaint() -> None:
    assert look(monday_noon(), burst(monday_noon(), 1, posts_each=100)).findings == ()


@pytest.mark.parametrize("people", [1, 4])
def test_a_quiet_brand_raises_nothing_for_a_handful(people: int) -> None:
    assert look(monday_noon(), burst(monday_noon(), people), rate=0.02).findings == ()


def test_without_four_weeks_of_history_nothing_is_usual_so_nothing_is_unusual() -> None:
    whole = history_until(scene(1.0), monday_noon())
    hours = 3 * 168
    short = History(
        whole.brand,
        whole.first_hour + HISTORY_HOURS - hours,
        {source: counts[-hours:] for source, counts in whole.mentions.items()},
        {key: counts[-hours:] for key, counts in whole.complainants.items()},
        {},
    )
    assert learn(short, ZONE) is None
    assert learn(whole, ZONE) is not None


def test_the_hour_of_the_week_is_that_of_the_clock_on_the_wall() -> None:
    winter, summer = datetime(2026, 3, 23, 8, tzinfo=UTC), datetime(2026, 3, 30, 7, tzinfo=UTC)
    slots = {slot_of(int(moment.timestamp()) // HOUR, ZONE) for moment in (winter, summer)}
    assert slots == {9}


def test_more_is_usual_on_a_busy_hour_than_at_night() -> None:
    known = learn(history_until(scene(10.0), monday_noon()), ZONE)
    assert known is not None
    noon, night = monday_noon(), monday_noon() - 9 * HOUR
    busy, quiet = (known.expect(at - HOUR, at, 1, ZONE).mean[0] for at in (noon, night))
    assert busy > 4 * quiet > 0


def test_tripled_complaints_are_found_within_two_hours_and_nothing_else_is() -> None:
    watched = scene(20.0)
    assert watched.tripled is not None
    raised = ours(replace(watched, end=watched.tripled[1] + 86_400))
    assert len(raised) == 1
    assert 0 <= raised[0] - watched.tripled[0] <= 2 * HOUR


def test_a_silent_source_is_no_drop_and_its_absence_no_spike() -> None:
    watched = scene(10.0)
    now = watched.outage[0] + 30 * HOUR
    heard = look(now, (), rate=10.0, silent=frozenset({"linkedin"}))
    assert heard.findings == ()
    deaf = look(now, (), rate=10.0)
    assert {one.kind for one in deaf.findings} == {SpikeKind.DROP}


def test_a_source_is_silent_when_much_is_missing_and_no_news_after_a_week() -> None:
    watched = scene(10.0)
    counts = watched.mentions["linkedin"][:HISTORY_HOURS]
    known = rhythm(counts, FIRST_HOUR, ZONE)
    assert known is not None
    now = monday_noon()
    assert not state("linkedin", known, now - 120, now, ZONE).silent
    assert state("linkedin", known, now - 12 * HOUR, now, ZONE).silent
    assert not state("linkedin", known, now - RETIRED_SECONDS - HOUR, now, ZONE).silent


def test_an_outage_of_the_past_is_left_out_of_what_is_usual() -> None:
    counts = scene(10.0).mentions["linkedin"][:HISTORY_HOURS].copy()
    whole = rhythm(counts, FIRST_HOUR, ZONE)
    counts[500:620] = 0
    gap = rhythm(counts, FIRST_HOUR, ZONE)
    assert whole is not None
    assert gap is not None
    assert gap.outages[500:620].all()
    assert not whole.outages.any()
    assert np.isclose(gap.rates.sum(), whole.rates.sum(), rtol=0.1)


def test_looking_twice_finds_the_same() -> None:
    now = monday_noon()
    assert look(now, burst(now, 40)).findings == look(now, burst(now, 40)).findings


NOW = datetime.fromtimestamp(monday_noon(), UTC)
QUIET = Judgement((), {}, {})


def raised(episodes: Episodes, judgement: Judgement, minutes: float) -> tuple[Episodes, list[Spike]]:
    return follow(episodes, judgement, (), NOW + timedelta(minutes=minutes))


def test_one_burst_is_raised_once_ends_once_and_can_be_raised_again_after_the_cooldown() -> None:
    hot = look(monday_noon(), burst(monday_noon(), 40))
    episodes, first = raised(Episodes({}), hot, 0)
    assert [one.ended_at for one in first] == [None]
    episodes, again = raised(episodes, hot, 5)
    assert again == []
    episodes, over = raised(episodes, QUIET, 60)
    assert [(one.id, one.ended_at) for one in over] == [(first[0].id, NOW + timedelta(minutes=60))]
    assert episodes.since("Acme") == (NOW + timedelta(minutes=60)).timestamp()
    episodes, cooling = raised(episodes, hot, 65)
    assert cooling == []
    _, second = raised(episodes, hot, 61 + COOLDOWN_SECONDS / 60)
    assert len(second) == 1
    assert second[0].id != first[0].id


def test_a_spike_that_grows_keeps_its_id_and_becomes_more_severe() -> None:
    wild = look(monday_noon(), burst(monday_noon(), 40))
    mild = replace(wild, findings=tuple(replace(one, severity=Severity.WARNING) for one in wild.findings))
    episodes, first = raised(Episodes({}), mild, 0)
    _, second = raised(episodes, wild, 5)
    assert [one.severity for one in (*first, *second)] == [Severity.WARNING, Severity.CRITICAL]
    assert second[0].id == first[0].id
    assert second[0].raised_at == NOW


def test_what_is_still_unusual_goes_on() -> None:
    hot = look(monday_noon(), burst(monday_noon(), 40))
    episodes, _ = raised(Episodes({}), hot, 0)
    _, changed = raised(episodes, replace(hot, findings=()), 5)
    assert changed == []


def test_the_same_spike_raised_twice_in_an_hour_has_one_id() -> None:
    hot = look(monday_noon(), burst(monday_noon(), 40))
    _, first = raised(Episodes({}), hot, 0)
    _, after_a_crash = raised(Episodes({}), hot, 1)
    assert first[0].id == after_a_crash[0].id


def test_what_can_be_found_at_best_grows_with_how_much_there_is_to_go_by() -> None:
    scene = simulate(2.0, 1)
    at_best = [best_possible(rate, scene) for rate in (0.1, 0.5, 2.0, 10.0)]
    assert at_best == sorted(at_best)
    assert at_best[0] < 0.1
    assert at_best[-1] > 0.99
    assert best_possible(2.0, scene, hours=4) > best_possible(2.0, scene)
