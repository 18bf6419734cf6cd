"""What the page's parameters mean: periods in local days, and what they are compared with."""

from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.buckets import Interval
from services.api.page.form import MAX_DAYS, PRESETS, Choice, Period, filters_of, period_of, read_form
from shared.events import EARLIEST, Stage

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 11, 23, 14, 20, tzinfo=UTC)


def period(choice: Choice, now: datetime = NOW, zone: ZoneInfo = AMSTERDAM) -> Period:
    found = period_of(choice, now, zone)
    assert isinstance(found, Period), found
    return found


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=AMSTERDAM).astimezone(UTC)


def test_without_parameters_it_is_the_last_thirty_days_of_all_brands() -> None:
    form = read_form([])
    assert (form.choice, form.errors, form.untidy) == (Choice(), {}, False)
    found = period(form.choice)
    assert (found.first, found.last, found.days) == (date(2026, 10, 25), date(2026, 11, 23), 30)
    assert (found.start, found.end) == (local("2026-10-25"), local("2026-11-24"))


def test_the_period_before_is_as_long_and_ends_at_the_same_hour() -> None:
    found = period(Choice(days=7))
    assert (found.start, found.compared_until) == (local("2026-11-17"), local("2026-11-23T15:00"))
    assert (found.before_start, found.before_until) == (local("2026-11-10"), local("2026-11-16T15:00"))


def test_a_period_that_is_over_is_compared_whole() -> None:
    found = period(Choice(first=date(2026, 10, 1), until=date(2026, 10, 31)))
    assert (found.start, found.compared_until, found.end) == (
        local("2026-10-01"),
        local("2026-11-01"),
        local("2026-11-01"),
    )
    assert (found.before_start, found.before_until) == (local("2026-08-31"), local("2026-10-01"))


def test_the_first_minutes_of_a_single_day_have_nothing_to_compare() -> None:
    now = local("2026-11-23T00:40")
    today = Choice(first=date(2026, 11, 23))
    assert not period(today, now).comparable
    assert period(today, now + timedelta(hours=1)).comparable


def test_dates_win_over_days_and_until_alone_counts_back() -> None:
    form = read_form([("days", "7"), ("until", "2026-11-10")])
    assert form.errors == {}
    assert period(form.choice).first == date(2026, 11, 4)
    assert period(form.choice).last == date(2026, 11, 10)


def test_a_period_never_reaches_beyond_today() -> None:
    assert period(Choice(first=date(2026, 11, 20), until=date(2027, 1, 1))).last == date(2026, 11, 23)


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        (Choice(first=date(2026, 11, 24)), "from"),
        (Choice(first=date(2026, 11, 20), until=date(2026, 11, 19)), "until"),
        (Choice(first=date(2026, 11, 23) - timedelta(days=MAX_DAYS)), "from"),
    ],
)
def test_a_period_that_cannot_be(choice: Choice, field: str) -> None:
    found = period_of(choice, NOW, AMSTERDAM)
    assert isinstance(found, dict)
    assert list(found) == [field]


def test_the_longest_period_can_be() -> None:
    assert period(Choice(first=date(2026, 11, 24) - timedelta(days=MAX_DAYS))).days == MAX_DAYS


@pytest.mark.parametrize(
    ("days", "per", "interval"),
    [
        (7, None, Interval.DAY),
        (7, "week", Interval.DAY),
        (30, None, Interval.DAY),
        (30, "week", Interval.WEEK),
        (120, None, Interval.DAY),
        (121, None, Interval.WEEK),
        (121, "day", Interval.WEEK),
    ],
)
def test_buckets(days: int, per: str | None, interval: Interval) -> None:
    first = date(2026, 11, 24) - timedelta(days=days)
    assert period(Choice(first=first)).interval(per) is interval


def test_a_preset_that_is_pressed_wins_over_dates_and_asks_for_a_tidy_address() -> None:
    form = read_form([("brand", "Acme"), ("period", "90"), ("from", "2026-01-01"), ("source", "")])
    assert (form.choice, form.errors) == (Choice(brand="Acme", days=90), {})
    assert form.untidy
    assert form.choice.url() == "?brand=Acme&days=90"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("days", "31"),
        ("period", "x"),
        ("from", "yesterday"),
        ("from", "1999-12-31"),
        ("until", "2026-02-30"),
        ("language", "fr"),
        ("stage", "nowhere"),
        ("only", "all"),
        ("per", "month"),
        ("brand", "x" * 201),
        ("cursor", "x" * 501),
        ("bradn", "Acme"),
    ],
)
def test_what_is_wrong_is_named_and_the_rest_is_kept(name: str, value: str) -> None:
    form = read_form([("source", "linkedin"), (name, value)])
    assert list(form.errors) == [name]
    assert form.typed[name] == value
    assert form.choice.source == "linkedin"


def test_given_twice() -> None:
    assert list(read_form([("brand", "Acme"), ("brand", "Beta")]).errors) == ["brand"]


CHOICES = st.builds(
    Choice,
    brand=st.none() | st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=20),
    days=st.sampled_from(PRESETS),
    language=st.sampled_from([None, "nl", "other"]),
    source=st.sampled_from([None, "x", "a&b=c"]),
    stage=st.sampled_from([None, *map(str, Stage)]),
    topic=st.sampled_from([None, "response time"]),
    per=st.sampled_from([None, "week"]),
    only=st.sampled_from([None, "fails", "questions"]),
)


@given(CHOICES)
def test_an_address_says_what_was_chosen(choice: Choice) -> None:
    form = read_form(parse_qsl(choice.url().removeprefix("?")))
    assert (form.choice, form.errors, form.untidy) == (choice, {}, False)


def test_another_choice_starts_at_the_newest_mention() -> None:
    choice = Choice(brand="Acme", cursor="abc", first=date(2026, 1, 1))
    assert choice.url(stage="offer") == "?brand=Acme&from=2026-01-01&stage=offer"
    assert choice.url(cursor=choice.cursor) == "?brand=Acme&from=2026-01-01&cursor=abc"


@given(
    st.integers(0, 48 * 366 * 24 * 60).map(lambda minutes: EARLIEST + timedelta(days=366, minutes=minutes)),
    st.sampled_from(PRESETS),
    st.sampled_from(["Europe/Amsterdam", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_both_sides_of_a_comparison_are_equally_long(now: datetime, days: int, zone: str) -> None:
    found = period(Choice(days=days), now, ZoneInfo(zone))
    assert found.days == days
    assert found.before_start < found.before_until <= found.start <= found.compared_until <= found.end
    assert found.compared_until <= now
    this, before = found.compared_until - found.start, found.before_until - found.before_start
    # The clocks may go forward in one of them and back in the other.
    assert abs(this - before) <= timedelta(hours=2)


def test_filters_are_those_of_the_choice() -> None:
    choice = Choice(brand="Acme", language="nl", source="x", stage="offer", topic="pay")
    filters = filters_of(choice, NOW, NOW + timedelta(days=1))
    assert (filters.brands, filters.languages, filters.sources) == (("Acme",), ("nl",), ("x",))
    assert (filters.stages, filters.topics) == (("offer",), ("pay",))
    assert filters_of(Choice(), NOW, NOW + timedelta(days=1)).brands == ()
