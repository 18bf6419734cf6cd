"""The sample: valid, varied, dated as it should be, with an improvement and a worsening to discover."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.local.sample import AMSTERDAM, sample_lines
from shared.brands import Brand, BrandBook, load_brands, parse_brands
from shared.events import Kind, Language, Mention, SentimentLabel, Stage, parse_mention

ROOT = Path(__file__).parents[3]
LABELS = ROOT / "tests/data/sample_labels.jsonl"
CONFIG = ROOT / "deploy/local/sample/klankbord.toml"
NOW = datetime(2026, 11, 18, 14, 30, tzinfo=UTC)
ZONNEVELD = "Zonneveld Zorg"
BRIGHTWATER = "Brightwater Logistics"

# Just after midnight the least of the day has passed; the changes of the clock are in it, both ways.
MOMENTS = [
    *(datetime(2026, 11, day, 0, 0, 1, tzinfo=AMSTERDAM) for day in range(16, 23)),
    *(datetime(2026, 3, day, 3, 30, tzinfo=AMSTERDAM) for day in range(28, 32)),
    *(datetime(2026, 10, day, 0, 0, 1, tzinfo=AMSTERDAM) for day in range(24, 28)),
    datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC),
    datetime(2026, 7, 1, 22, 0, tzinfo=UTC),
]


class Label(NamedTuple):
    external_id: str
    brand: str
    language: str
    sentiment_label: str
    is_fail: bool
    is_question: bool
    stage: str


def read_labels() -> list[Label]:
    return [Label(**json.loads(line)) for line in LABELS.read_text(encoding="utf-8").splitlines()]


def read_mentions(now: datetime = NOW) -> dict[str, Mention]:
    mentions = [parse_mention(line, now) for line in sample_lines(now)]
    return {str(mention.external_id): mention for mention in mentions}


def per_week(wanted: Callable[[Label], bool], days: range) -> float:
    """Count the labels that are `wanted` and published from `days.start` to `days.stop` days before NOW."""
    mentions = read_mentions()
    ages = {name: NOW - mention.published_at for name, mention in mentions.items()}
    found = [
        label
        for label in read_labels()
        if wanted(label) and timedelta(days.start) <= ages[label.external_id] < timedelta(days.stop)
    ]
    return len(found) / len(days) * 7


def test_every_line_is_a_valid_mention_with_an_id_of_its_own() -> None:
    lines = list(sample_lines(NOW))
    mentions = [parse_mention(line, NOW) for line in lines]

    assert all("\n" not in line for line in lines)
    assert len(mentions) == 317
    assert len({mention.id for mention in mentions}) == 317
    assert len({mention.external_id for mention in mentions}) == 317


@pytest.mark.parametrize("now", MOMENTS, ids=datetime.isoformat)
def test_mentions_are_from_the_last_90_days_whenever_it_is_loaded(now: datetime) -> None:
    lines = [json.loads(line) for line in sample_lines(now)]
    times = [datetime.fromisoformat(line["published_at"]) for line in lines]

    assert times == sorted(times)
    assert times[-1] < now
    assert times[0] > now - timedelta(days=90)
    assert {time.utcoffset() for time in times} <= {timedelta(hours=1), timedelta(hours=2)}


@pytest.mark.parametrize("now", MOMENTS, ids=datetime.isoformat)
def test_answers_come_after_what_they_answer_in_the_same_conversation(now: datetime) -> None:
    mentions = read_mentions(now)
    answers = [mention for mention in mentions.values() if mention.in_reply_to]

    assert len(answers) >= 15
    for answer in answers:
        answered = mentions[str(answer.in_reply_to)]
        assert answered.published_at < answer.published_at
        assert answered.conversation_id == answer.conversation_id is not None


@pytest.mark.parametrize("now", MOMENTS, ids=datetime.isoformat)
def test_mails_and_news_keep_office_days_and_people_write_in_the_evening(now: datetime) -> None:
    mentions = read_mentions(now).values()
    local = [(m, m.published_at.astimezone(AMSTERDAM)) for m in mentions]
    office = [time for mention, time in local if mention.kind == Kind.MAIL or mention.source == "news"]
    posts = [time for mention, time in local if mention.source in {"x", "reddit", "glassdoor", "indeed"}]

    assert len(office) >= 40
    assert {time.weekday() for time in office} <= {0, 1, 2, 3, 4}
    assert all(8 <= time.hour < 18 for time in office)
    assert sum(time.hour >= 17 for time in posts) > 0.8 * len(posts)
    assert all(time.hour >= 7 for _, time in local)


def test_loading_it_again_gives_the_same_ids() -> None:
    assert {m.id for m in read_mentions().values()} == {m.id for m in read_mentions(MOMENTS[0]).values()}


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        next(sample_lines(datetime(2026, 11, 18)))  # noqa: DTZ001 - what is refused


def test_each_mention_has_one_label_out_of_the_closed_sets() -> None:
    labels = read_labels()

    assert sorted(label.external_id for label in labels) == sorted(read_mentions())
    assert {label.language for label in labels} == set(Language) - {Language.UNDETERMINED}
    assert {label.sentiment_label for label in labels} == set(SentimentLabel)
    assert {label.stage for label in labels} == set(Stage)


def test_brands_and_languages_have_their_share() -> None:
    labels = read_labels()

    assert Counter(label.brand for label in labels) == {ZONNEVELD: 203, BRIGHTWATER: 105, "": 9}
    assert Counter(label.language for label in labels) == {"nl": 198, "en": 107, "other": 12}


def test_stages_fails_and_questions_are_all_there_for_both_brands() -> None:
    labels = read_labels()

    for brand in (ZONNEVELD, BRIGHTWATER):
        stages = Counter(label.stage for label in labels if label.brand == brand)
        assert min(stages[stage] for stage in Stage) >= 5, stages
        for name in ("is_fail", "is_question"):
            assert sum(getattr(label, name) for label in labels if label.brand == brand) >= 20
    assert all(label.sentiment_label != "positive" or not label.is_question for label in labels)


def test_every_kind_and_many_sources_and_scales_occur() -> None:
    mentions = read_mentions().values()

    assert {mention.kind for mention in mentions} == set(Kind)
    assert len({mention.source for mention in mentions}) == 11
    assert {m.rating_scale for m in mentions if m.rating} == {5, 10}
    assert {int(m.rating) for m in mentions if m.rating and m.rating_scale == 5} == {1, 2, 3, 4, 5}
    assert sum(len(mention.text.split()) >= 200 for mention in mentions) == 5


def test_no_two_texts_are_alike() -> None:
    words = {
        name: set(re.findall(r"\w+", mention.text.casefold())) for name, mention in read_mentions().items()
    }

    alike = [
        (one, other)
        for one, other in combinations(words, 2)
        if len(words[one] & words[other]) > 0.5 * len(words[one] | words[other])
    ]
    assert alike == []


def test_silence_at_zonneveld_falls_by_about_two_thirds_and_the_rest_stays() -> None:
    def silence(label: Label) -> bool:
        return label.brand == ZONNEVELD and label.stage == "silence"

    def other_fail(label: Label) -> bool:
        return label.brand == ZONNEVELD and label.stage != "silence" and label.is_fail

    before, after = range(35, 90), range(35)
    fails = per_week(lambda m: silence(m) and m.is_fail, after) / per_week(
        lambda m: silence(m) and m.is_fail, before
    )
    questions = per_week(lambda m: silence(m) and m.is_question, after) / per_week(
        lambda m: silence(m) and m.is_question, before
    )
    others = per_week(other_fail, after) / per_week(other_fail, before)

    assert 0.2 < fails < 0.45
    assert 0.2 < questions < 0.45
    assert 0.8 < others < 1.25


def test_month_over_month_shows_the_improvement() -> None:
    def silence_fail(label: Label) -> bool:
        return label.brand == ZONNEVELD and label.stage == "silence" and label.is_fail

    assert per_week(silence_fail, range(30)) < 0.5 * per_week(silence_fail, range(30, 60))


def test_complaints_about_the_assessment_rise_at_brightwater_in_the_last_two_weeks() -> None:
    mentions = read_mentions()

    def about_assessment(label: Label) -> bool:
        text = mentions[label.external_id].text.casefold()
        return label.brand == BRIGHTWATER and label.is_fail and bool(re.search("assessment|test", text))

    recent, earlier = per_week(about_assessment, range(15)), per_week(about_assessment, range(15, 90))
    assert recent > 3
    assert 0 < earlier < 0.5


def test_an_announcement_marks_the_moment_of_the_improvement() -> None:
    announcement = read_mentions()["sample-z058"]

    assert "binnen vijf werkdagen een statusupdate" in announcement.text
    assert timedelta(days=35) <= NOW - announcement.published_at <= timedelta(days=38)


def test_the_configuration_reads_as_two_brands_without_feeds() -> None:
    book = load_brands(CONFIG)

    assert [brand.name for brand in book.brands] == [ZONNEVELD, BRIGHTWATER]
    assert book.all_feeds() == ()
    for brand in book.brands:
        assert brand.aliases and brand.handles
        assert brand.terms.words and brand.terms.phrases and brand.terms.hashtags and brand.terms.exclude


def test_the_commented_feeds_of_the_configuration_are_valid_once_uncommented() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    uncommented = re.sub(r"(?m)^# (?=\[\[|(?:url|source|interval_seconds|language|match_terms) = )", "", text)

    from_file = load_brands(CONFIG)
    with_feeds = parse_brands(uncommented)

    assert with_feeds.brands[1] == from_file.brands[1]
    assert [(brand, feed.source_name) for brand, feed in with_feeds.all_feeds()] == [
        (ZONNEVELD, "example-reviews"),
        (None, "port-news"),
    ]


def test_each_mention_reaches_the_brand_that_it_is_about() -> None:
    book = load_brands(CONFIG)
    mentions = read_mentions()

    found = {label.external_id: brand_of(mentions[label.external_id], book) for label in read_labels()}
    assert found == {label.external_id: label.brand for label in read_labels()}
    assert sum(mention.brand is None for mention in mentions.values()) >= 100
    assert sum(brand != "" for brand in found.values()) >= 200


def brand_of(mention: Mention, book: BrandBook) -> str:
    """Return the brand by the plainest reading of klankbord.toml; "" for none."""
    if mention.brand:
        return book.named(mention.brand)
    matching = [brand.name for brand in book.brands if is_about(mention.text, brand)]
    assert len(matching) <= 1
    return matching[0] if matching else ""


def is_about(text: str, brand: Brand) -> bool:
    terms = brand.terms
    tracked = (*brand.names, *brand.handles, *terms.words, *terms.phrases, *terms.hashtags)

    def occurs(term: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE) is not None

    return any(map(occurs, tracked)) and not any(map(occurs, terms.exclude))
