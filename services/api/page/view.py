"""What the page says: facts turned into words and numbers for the templates. Pure.

Templates only lay out: every text, number and address that depends on data is made here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from services.api.buckets import Interval
from services.api.cursor import encode_cursor
from services.api.figures import Bounds, Change, Daily, Verdict, count_change, share_change, wilson
from services.api.page.facts import Facts, Sources, mention_filters
from services.api.page.form import PRESETS, Choice, Form, Period, filters_of
from services.api.responses import BrandSummary, Checked, MentionOut, Point, TopicCount
from services.api.selection import Metric
from shared.events import Stage
from shared.spike_events import Spike, SpikeKind, SpikeState

EXCERPT_CHARACTERS = 420
MAX_NAMED = 8
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
LANGUAGE_NAMES = {"nl": "Dutch", "en": "English", "other": "Other", "und": "Undetermined"}
LABEL_NAMES: Mapping[str, str] = {
    "sentiment": "Sentiment",
    "fail": "#fail",
    "question": "Question",
    "stage": "Stage",
    "author_kind": "Who speaks",
    "language": "Language",
    "topics": "Topics",
}
STAGE_NAMES: Mapping[str, str] = {
    Stage.VACANCY: "Vacancy",
    Stage.APPLICATION: "Application",
    Stage.SILENCE: "Waiting for an answer",
    Stage.INTERVIEW: "Interview",
    Stage.REJECTION: "Rejection",
    Stage.OFFER: "Offer",
    Stage.ONBOARDING: "First weeks",
    Stage.EMPLOYEE: "Working there",
    Stage.OTHER: "Elsewhere",
}


@dataclass(frozen=True)
class Option:
    """One entry of a list to choose from."""

    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class Link:
    """Somewhere to go; `current` when the reader is there."""

    label: str
    url: str
    current: bool = False


@dataclass(frozen=True)
class Controls:
    """The form at the head of the page, as it was filled in."""

    brands: tuple[Option, ...]
    languages: tuple[Option, ...]
    sources: tuple[Option, ...]
    stages: tuple[Option, ...]
    periods: tuple[Option, ...]
    days: str
    first: str
    until: str
    topic: str
    per: str
    only: str
    errors: Mapping[str, str]
    narrowed: bool
    everything: Link


def controls(form: Form, brands: Sequence[BrandSummary], sources: Sequence[str]) -> Controls:
    """Return the form with what was typed in it, also where that was wrong."""
    typed, choice = form.typed, form.choice
    period = typed.get("period") or typed.get("days") or str(choice.days)
    dated = bool(typed.get("from") or typed.get("until")) and not typed.get("period")
    known = sorted({*sources, *filter(None, [choice.source])}, key=str.casefold)
    return Controls(
        brands=_options([("", "All brands"), *((b.name, b.name) for b in brands)], typed.get("brand")),
        languages=_options([("", "Any"), *LANGUAGE_NAMES.items()], typed.get("language")),
        sources=_options([("", "Any"), *((name, name) for name in known)], typed.get("source")),
        stages=_options([("", "Any"), *STAGE_NAMES.items()], typed.get("stage")),
        periods=_options([(str(n), f"{n} days") for n in PRESETS], None if dated else period),
        days=str(choice.days),
        first=typed.get("from", "") if dated else "",
        until=typed.get("until", "") if dated else "",
        topic=typed.get("topic", ""),
        per=typed.get("per", ""),
        only=typed.get("only", ""),
        errors=form.errors,
        narrowed=dated or any(typed.get(name) for name in ("language", "source", "stage")),
        everything=Link("Clear filters", choice.url(language=None, source=None, stage=None, topic=None)),
    )


def _options(choices: Sequence[tuple[str, str]], selected: str | None) -> tuple[Option, ...]:
    return tuple(Option(value, label, value == (selected or "")) for value, label in choices)


@dataclass(frozen=True)
class Movement:
    """A change against the period before, in words; `tone` is good, bad or neutral."""

    what: str
    text: str
    interval: str
    direction: str
    tone: str


@dataclass(frozen=True)
class Card:
    """One headline figure."""

    name: str
    value: str
    note: str
    interval: str
    movements: tuple[Movement, ...]


@dataclass(frozen=True)
class Span:
    """From `start` to `end`, exclusive."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Bucket:
    """One day or week of the chart; `start` is local. The label says so when it is cut off or not over."""

    start: datetime
    label: str
    mentions: int
    fails: int
    questions: int
    sentiment: str


@dataclass(frozen=True)
class TopicRow:
    """One topic; widths are percentages of the most mentioned one's mentions."""

    topic: str
    url: str
    mentions: int
    fails: int
    questions: int
    mentions_width: float
    fails_width: float


@dataclass(frozen=True)
class StageRow:
    """One stage of the journey; widths are percentages of the largest one's mentions."""

    stage: str
    url: str
    mentions: int
    fails: int
    share: str
    interval: str
    mentions_width: float
    fails_width: float


@dataclass(frozen=True)
class MentionView:
    """One mention as it is read. `lang` is empty when the language is not known."""

    id: str
    brand: str
    source: str
    author: str
    kind: str
    time: str
    iso_time: str
    lang: str
    excerpt: str
    text: str
    url: str | None
    is_fail: bool
    fail_terms: tuple[str, ...]
    is_question: bool
    sentiment_label: str
    stage: Link
    topics: tuple[Link, ...]
    rating: str


@dataclass(frozen=True)
class Quote:
    """The beginning of a mention, and where it is to be read."""

    text: str
    url: str | None


@dataclass(frozen=True)
class AccuracyRow:
    """How often people disagreed with one label of the model in one month."""

    month: str
    label: str
    checked: int
    differ: int
    share: str
    interval: str


@dataclass(frozen=True)
class SpikeView:
    """One spike of #fails, or drop, in words. `examples` are texts; those with an address can be opened."""

    brand: str
    severity: str
    active: bool
    time: str
    iso_time: str
    what: str
    usual: str
    about: tuple[str, ...]
    examples: tuple[Quote, ...]


@dataclass(frozen=True)
class PageView:
    """All of the page below the form."""

    title: str
    period: str
    compared_with: str
    timezone: str
    by_brand: bool
    notices: tuple[str, ...]
    cards: tuple[Card, ...]
    interval: Interval
    intervals: tuple[Link, ...]
    buckets: tuple[Bucket, ...]
    topics: tuple[TopicRow, ...]
    stages: tuple[StageRow, ...]
    tabs: tuple[Link, ...]
    mentions: tuple[MentionView, ...]
    newest: Link | None
    next: Link | None
    topic: Link | None
    accuracy: tuple[AccuracyRow, ...]
    spikes: tuple[SpikeView, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was said."""
        return not any(bucket.mentions for bucket in self.buckets)


def page_view(choice: Choice, period: Period, facts: Facts, zone: ZoneInfo, now: datetime) -> PageView:
    """Return the page for `choice`."""
    page = facts.mentions
    interval = period.interval(choice.per)
    filters = mention_filters(choice, filters_of(choice, period.start, period.end))
    following = choice.url(cursor=encode_cursor(page.next, filters)) + "#mentions" if page.next else None
    return PageView(
        title=choice.brand or "All brands",
        period=days_text(period.first, period.last),
        compared_with=compared_with(facts.sources, period, zone),
        timezone=zone.key,
        by_brand=choice.brand is None,
        notices=notices(facts.sources),
        cards=cards(facts, choice),
        interval=interval,
        intervals=tuple(
            Link(f"By {each}", choice.url(per=each.value) + "#over-time", each is interval)
            for each in period.intervals
        ),
        buckets=buckets(facts, period, interval, zone, now),
        topics=topic_rows(facts.topics, choice),
        stages=stage_rows(facts.stages, choice),
        tabs=_tabs(facts, choice),
        mentions=tuple(mention_view(mention, choice, zone) for mention in page.items),
        newest=Link("Back to the newest", choice.url() + "#mentions") if choice.cursor else None,
        next=Link("Older mentions", following) if following else None,
        topic=Link(topic_name(choice.topic), choice.url(topic=None)) if choice.topic else None,
        accuracy=accuracy_rows(facts.accuracy),
        spikes=tuple(spike_view(spike, zone) for spike in facts.spikes),
    )


def spike_view(spike: Spike, zone: ZoneInfo) -> SpikeView:
    """Return a spike or a drop as the page tells of it."""
    raised = spike.raised_at.astimezone(zone)
    hours = max(1, round((spike.window_to - spike.window_from) / timedelta(hours=1)))
    people = "1 person" if spike.distinct_authors == 1 else f"{number(spike.distinct_authors)} people"
    span = "an hour" if hours == 1 else f"{number(hours)} hours"
    only = "Only " if spike.kind is SpikeKind.DROP else ""
    most = f", up to {spike.expected_high:.0f} in 99 of 100 such windows" if spike.expected_high else ""
    return SpikeView(
        brand=spike.brand or "",
        severity=spike.severity.value,
        active=spike.state is SpikeState.ACTIVE,
        time=moment_text(raised),
        iso_time=raised.isoformat(timespec="seconds"),
        what=f"{only}{people} complained in {span}",
        usual=f"{spike.expected:.2g} are usual then{most}",
        about=tuple(
            filter(
                None,
                (spike.stage and STAGE_NAMES[spike.stage], *(topic_name(topic) for topic in spike.topics)),
            )
        ),
        examples=tuple(Quote(example.excerpt, safe_url(example.url)) for example in spike.examples),
    )


def accuracy_rows(checked: Sequence[Checked]) -> tuple[AccuracyRow, ...]:
    """Return how often people disagreed with the model, newest month first."""
    rows = []
    for one in reversed(checked):
        differ = one.checked - one.agreed
        bounds = wilson(differ, one.checked)
        told = one.share is not None
        rows.append(
            AccuracyRow(
                month=one.month,
                label=LABEL_NAMES.get(one.label, one.label),
                checked=one.checked,
                differ=differ,
                share=share_text(differ, one.checked) if told else "too few to say",
                interval=bounds_text(bounds) if told else "",
            )
        )
    return tuple(rows)


def _tabs(facts: Facts, choice: Choice) -> tuple[Link, ...]:
    found = ((None, "All", _mentions(facts)), ("fails", "#fails", _sum(facts, Metric.FAILS)),
             ("questions", "Questions", _sum(facts, Metric.QUESTIONS)))  # fmt: skip
    return tuple(
        Link(f"{label} ({number(n)})", choice.url(only=only) + "#mentions", choice.only == only)
        for only, label, n in found
    )


def compared_with(sources: Sources, period: Period, zone: ZoneInfo) -> str:
    """Return what changes are measured against, as a sentence."""
    if not period.comparable:
        return "The day has only begun: there is nothing to compare yet."
    length = timedelta(days=period.days)
    before = days_text(period.first - length, period.last - length)
    if not sources.before:
        return f"There is nothing before it to compare with: no mentions in {before}."
    if period.compared_until == period.end:
        return f"Changes are against {before}."
    until = period.compared_until.astimezone(zone)
    if until.date() == period.last and (until.hour or until.minute):
        return f"Changes are against {before}, on both sides up to {until:%H:%M} on the last day."
    return f"Changes are against {before}, on both sides without the last day, which has only begun."


def _sum(facts: Facts, metric: Metric) -> int:
    return sum(int(point.value or 0) for point in facts.over_time[metric])


def _mentions(facts: Facts) -> int:
    return sum(point.n for point in facts.over_time[Metric.FAILS])


def cards(facts: Facts, choice: Choice) -> tuple[Card, ...]:
    """Return the headline figures: mentions, #fails, questions, sentiment."""
    now, before = facts.now, facts.before
    count = len(facts.all_sources)
    whence = choice.source or ("1 source" if count == 1 else f"{number(count)} sources")
    volume = _counted([d.mentions for d in now.fails], [d.mentions for d in before.fails], judged=False)
    compared = bool(facts.sources.before)
    return (
        Card("Mentions", number(_mentions(facts)), f"from {whence}", "", (volume,) if compared else ()),
        _share_card("#fails", facts, Metric.FAILS, now.fails, before.fails),
        _share_card("Questions", facts, Metric.QUESTIONS, now.questions, before.questions),
        _sentiment_card(facts),
    )


def _share_card(
    name: str, facts: Facts, metric: Metric, now: Sequence[Daily], before: Sequence[Daily]
) -> Card:
    hits, mentions = _sum(facts, metric), _mentions(facts)
    count = _counted([day.hits for day in now], [day.hits for day in before])
    return Card(
        name=name,
        value=number(hits),
        note=f"{share_text(hits, mentions)} of all mentions",
        interval=bounds_text(wilson(hits, mentions)),
        movements=(count, _shared(share_change(now, before))) if facts.sources.before else (),
    )


def _sentiment_card(facts: Facts) -> Card:
    negative, mentions = _sum(facts, Metric.NEGATIVE), _mentions(facts)
    total = sum((point.value or 0) * point.n for point in facts.over_time[Metric.SENTIMENT])
    change = _shared(share_change(facts.now.negatives, facts.before.negatives))
    return Card(
        name="Sentiment",
        value=signed(total / mentions, 2) if mentions else DASH,
        note=f"{share_text(negative, mentions)} of mentions negative",
        interval=bounds_text(wilson(negative, mentions)),
        movements=(replace(change, what="Negative"),) if facts.sources.before else (),
    )


def _counted(now: Sequence[int], before: Sequence[int], *, judged: bool = True) -> Movement:
    change = count_change(now, before)
    word = "more" if change.verdict is Verdict.MORE else "fewer"
    text = "" if change.value is None else f"{100 * abs(change.value):.0f} % {word}"
    interval = "" if change.bounds is None else _range(change.bounds, " %")
    return _movement("Number", change, text, interval, judged=judged)


def _shared(change: Change) -> Movement:
    word = "higher" if change.verdict is Verdict.MORE else "lower"
    text = "" if change.value is None else f"{_points(abs(change.value)).lstrip('+')} points {word}"
    interval = "" if change.bounds is None else _range(change.bounds, " points")
    return _movement("Share", change, text, interval)


def _movement(what: str, change: Change, text: str, interval: str, *, judged: bool = True) -> Movement:
    if change.verdict is Verdict.TOO_FEW:
        return Movement(what, "too few to say", "", "none", "neutral")
    if change.verdict is Verdict.UNCLEAR:
        return Movement(what, "no clear change", interval, "none", "neutral")
    less = change.verdict is Verdict.LESS
    tone = ("good" if less else "bad") if judged else "neutral"
    return Movement(what, text, interval, "down" if less else "up", tone)


def _range(bounds: Bounds, unit: str) -> str:
    return f"{_points(bounds.low)} to {_points(min(bounds.high, 9.99))}{unit}"


def _points(share: float) -> str:
    return signed(100 * share, 1 if abs(share) < 0.0995 else 0)


def notices(sources: Sources) -> tuple[str, ...]:
    """Return what the reader must know before trusting a comparison."""
    if not sources.before:
        return ()
    stopped = _listed(sources.stopped, sources.before)
    began = _listed(sources.began, sources.now)
    return tuple(
        filter(
            None,
            (
                stopped
                and f"Silent in this period, with mentions in the one before: {stopped}. "
                "That may be a fault in the source. It is left out of every comparison.",
                began and f"New in this period: {began}. It is left out of every comparison.",
            ),
        )
    )


def _listed(names: Sequence[str], counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({number(counts[name])})" for name in names[:MAX_NAMED]]
    more = len(names) - MAX_NAMED
    return ", ".join(shown) + (f" and {number(more)} more" if more > 0 else "")


def buckets(
    facts: Facts, period: Period, interval: Interval, zone: ZoneInfo, now: datetime
) -> tuple[Bucket, ...]:
    """Return the days or weeks of the chart, oldest first."""
    counted = (Metric.FAILS, Metric.QUESTIONS, Metric.SENTIMENT)
    whole = Span(period.start, min(period.end, now))
    return tuple(
        _bucket(fails.t.astimezone(zone), interval, whole, (fails, questions, sentiment))
        for fails, questions, sentiment in zip(*(facts.over_time[m] for m in counted), strict=True)
    )


def _bucket(start: datetime, interval: Interval, whole: Span, points: tuple[Point, Point, Point]) -> Bucket:
    fails, questions, sentiment = points
    complete = whole.start <= start and _natural_end(start, interval) <= whole.end
    return Bucket(
        start=start,
        label=_bucket_label(start, interval) + ("" if complete else " (not complete)"),
        mentions=fails.n,
        fails=int(fails.value or 0),
        questions=int(questions.value or 0),
        sentiment=DASH if sentiment.value is None else signed(sentiment.value, 2),
    )


def _natural_end(start: datetime, interval: Interval) -> datetime:
    """Return when the bucket that begins at `start` would end: adding days keeps the local time of day."""
    return start + timedelta(days=7 if interval is Interval.WEEK else 1)


def _bucket_label(start: datetime, interval: Interval) -> str:
    day = day_text(start.date())
    return f"Week of {day}" if interval is Interval.WEEK else f"{start:%a} {day}"


def topic_rows(topics: Sequence[TopicCount], choice: Choice) -> tuple[TopicRow, ...]:
    """Return the rows of the topic table, most mentioned first."""
    most = max((topic.mentions for topic in topics), default=1)
    return tuple(
        TopicRow(
            topic=topic_name(topic.topic),
            url=choice.url(topic=topic.topic),
            mentions=topic.mentions,
            fails=topic.fails,
            questions=topic.questions,
            mentions_width=_width(topic.mentions, most),
            fails_width=_width(topic.fails, most),
        )
        for topic in topics
    )


def stage_rows(stages: Mapping[str, Daily], choice: Choice) -> tuple[StageRow, ...]:
    """Return the rows of the stage table in the order of the journey; stages never mentioned are left out."""
    most = max((stage.mentions for stage in stages.values()), default=1)
    return tuple(
        StageRow(
            stage=name,
            url=choice.url(stage=stage),
            mentions=found.mentions,
            fails=found.hits,
            share=share_text(found.hits, found.mentions),
            interval=bounds_text(wilson(found.hits, found.mentions)),
            mentions_width=_width(found.mentions, most),
            fails_width=_width(found.hits, most),
        )
        for stage, name in STAGE_NAMES.items()
        if (found := stages.get(stage)) is not None
    )


def _width(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)


def mention_view(mention: MentionOut, choice: Choice, zone: ZoneInfo) -> MentionView:
    """Return a mention as the list shows it."""
    local = mention.published_at.astimezone(zone)
    author = mention.author
    return MentionView(
        id=str(mention.id),
        brand=mention.brand,
        source=mention.source,
        author=(author.name or author.handle or "") if author else "",
        kind=mention.kind,
        time=moment_text(local),
        iso_time=local.isoformat(timespec="seconds"),
        lang=mention.language if mention.language in {"nl", "en"} else "",
        excerpt=excerpt(mention.text),
        text=mention.text,
        url=safe_url(mention.url),
        is_fail=mention.is_fail,
        fail_terms=mention.fail_terms if mention.is_fail else (),
        is_question=mention.is_question,
        sentiment_label=mention.sentiment_label,
        stage=Link(STAGE_NAMES.get(mention.stage, mention.stage), choice.url(stage=mention.stage)),
        topics=tuple(Link(topic_name(topic), choice.url(topic=topic)) for topic in mention.topics),
        rating="" if mention.rating is None else f"{mention.rating:g} of {mention.rating_scale:g}",
    )


def excerpt(text: str) -> str:
    """Return the beginning of `text`, cut between words where it is long."""
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    beginning = text[:EXCERPT_CHARACTERS]
    return (beginning.rsplit(None, 1)[0] if " " in beginning else beginning) + "\N{HORIZONTAL ELLIPSIS}"


def topic_name(topic: str) -> str:
    """Return a topic's tag as words: "working-hours" -> "working hours"."""
    return topic.replace("-", " ")


def safe_url(url: str | None) -> str | None:
    """Return `url` when it is an http(s) address with a host; None for anything else."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.hostname else None


def number(value: int) -> str:
    """12345 -> "12,345"."""
    return f"{value:,}"


def signed(value: float, decimals: int) -> str:
    """-0.5 -> "−0.5", 0.5 -> "+0.5"; what rounds to zero has no sign."""
    text = f"{value:+.{decimals}f}".replace("-", MINUS)
    return text if text.strip(f"+{MINUS}0.") else text[1:]


def share_text(part: int, whole: int) -> str:
    """Return part/whole as a percentage: "9.2 %", "12 %"."""
    return f"{_percent(part / whole)} %" if whole else DASH


def bounds_text(bounds: Bounds | None) -> str:
    """Return a share's interval: "9.2–16 %"."""
    return "" if bounds is None else f"{_percent(bounds.low)}{DASH}{_percent(bounds.high)} %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if 0 < share < 0.0995 else f"{100 * share:.0f}"


def day_text(day: date) -> str:
    """Return "5 Nov 2026"."""
    return f"{day.day} {day:%b %Y}"


def moment_text(local: datetime) -> str:
    """Return "5 Nov 2026, 14:05"."""
    return f"{day_text(local.date())}, {local:%H:%M}"


def days_text(first: date, last: date) -> str:
    """Return "1 – 30 Nov 2026", with as much of the first day as differs."""
    if first == last:
        return day_text(last)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} {DASH} {day_text(last)}"
    begin = f"{first.day} {first:%b}" if first.year == last.year else day_text(first)
    return f"{begin} {DASH} {day_text(last)}"
