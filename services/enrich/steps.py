"""How a mention is enriched: STEPS, read from top to bottom. Each is a pure function from draft to draft.

A learned model can take the place of any step: it reads and fills the same draft.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.enrich.brands import BrandMatch, Brands
from services.enrich.cues import NO_CUES, Cues, sort_cues
from services.enrich.hashtags import split_hashtag
from services.enrich.journey import stage_of
from services.enrich.language import language_of, load_language_model
from services.enrich.lexicon import lexicons, vocabulary
from services.enrich.mails import own_words
from services.enrich.reading import Reading, read
from services.enrich.sentiment import Rating, Sentiment, sentiment_of
from services.enrich.signals import NO_FAIL, Fail, advertises, fail_of, is_question
from services.enrich.topics import topics_of
from shared.brands import BrandBook
from shared.events import (
    SCHEMA_VERSION,
    AuthorKind,
    EnrichedMention,
    Kind,
    Language,
    RawMention,
    SentimentLabel,
    Stage,
)

MODEL = "klankbord-lexicon-1"

_NOTHING_READ = Reading("", (), "", (), (), frozenset(), False)
_NEUTRAL = Sentiment(0.0, SentimentLabel.NEUTRAL, 0.9, ())


class Draft(NamedTuple):
    """A mention on its way through the steps; what no step has filled yet is neutral."""

    mention: RawMention
    brands: Brands
    written: str = ""
    reading: Reading = _NOTHING_READ
    match: BrandMatch = BrandMatch(None)
    by_employer: bool = False
    language: Language = Language.OTHER
    cues: Cues = NO_CUES
    sentiment: Sentiment = _NEUTRAL
    fail: Fail = NO_FAIL
    is_question: bool = False
    topics: tuple[str, ...] = ()
    stage: Stage = Stage.OTHER


def leave_out_quotes(draft: Draft) -> Draft:
    """Keep what the writer wrote: of a mail neither the history nor the signature."""
    mention = draft.mention
    return draft._replace(written=own_words(mention.text) if mention.kind is Kind.MAIL else mention.text)


def read_text(draft: Draft) -> Draft:
    """Cut the text into tokens, split hashtags, mend stretched words."""
    return draft._replace(reading=read(draft.written, vocabulary(), split_hashtag))


def match_brands(draft: Draft) -> Draft:
    """Find the brand, by name or by terms, and whether it speaks itself."""
    mention = draft.mention
    match = draft.brands.match(draft.reading, mention.brand, mention.author)
    return draft._replace(match=match, by_employer=match.by_employer)


def tell_language(draft: Draft) -> Draft:
    """Tell Dutch, English and the rest apart."""
    return draft._replace(language=language_of(draft.reading.words, draft.mention.language_hint))


def find_cues(draft: Draft) -> Draft:
    """Find the terms that are signs of a #fail, a question, a topic or a stage."""
    return draft._replace(cues=sort_cues(lexicons()[draft.language].cues.find(draft.reading.line)))


def notice_advertising(draft: Draft) -> Draft:
    """Take a text that offers vacancies for the employer's own, whoever's account it comes from."""
    return draft._replace(by_employer=draft.by_employer or advertises(draft.cues))


def spot_question(draft: Draft) -> Draft:
    """Spot whether information or an answer is asked for."""
    return draft._replace(is_question=not draft.by_employer and is_question(draft.reading.line, draft.cues))


def weigh_sentiment(draft: Draft) -> Draft:
    """Weigh how the writer feels. What the employer says itself is neutral."""
    if draft.by_employer:
        return draft
    mention, tones = draft.mention, lexicons()[draft.language].tones
    rating = None if mention.rating is None else Rating(mention.rating, mention.rating_scale)
    sentiment = sentiment_of(draft.reading, tones, draft.cues, rating, asks=draft.is_question)
    return draft._replace(sentiment=sentiment)


def place_in_journey(draft: Draft) -> Draft:
    """Say which stage of the candidate's journey it is about."""
    review = draft.mention.kind is Kind.REVIEW
    return draft._replace(stage=stage_of(draft.reading.line, draft.cues, review=review))


def judge_fail(draft: Draft) -> Draft:
    """Judge whether an unmet expectation is voiced. The employer does not complain about itself."""
    if draft.by_employer:
        return draft
    about_work = draft.stage is not Stage.OTHER or draft.mention.rating is not None
    fail = fail_of(draft.reading, draft.cues, draft.sentiment, about_work=about_work, asks=draft.is_question)
    return draft._replace(fail=fail)


def tag_topics(draft: Draft) -> Draft:
    """Tag what it is about."""
    return draft._replace(topics=topics_of(draft.cues))


Step = Callable[[Draft], Draft]

STEPS_TO_BRAND: tuple[Step, ...] = (
    leave_out_quotes,
    read_text,
    match_brands,
)
STEPS_TO_LABELS: tuple[Step, ...] = (
    tell_language,
    find_cues,
    notice_advertising,
    spot_question,
    weigh_sentiment,
    place_in_journey,
    judge_fail,
    tag_topics,
)
STEPS: tuple[Step, ...] = STEPS_TO_BRAND + STEPS_TO_LABELS


class Enricher:
    """Labels mentions for one brand book. Same mention, same answer; built once, may be shared by threads.

    Raises ConfigError when a term of the book cannot be found in any text, or a word list is malformed.
    """

    def __init__(self, book: BrandBook) -> None:
        self._brands = Brands(book)
        # Load now what else the first mention would wait for.
        lexicons()
        load_language_model()

    def enrich(self, raw: RawMention) -> EnrichedMention | None:
        """Return the mention with its labels; None when it names no brand and matches none."""
        draft = _run(STEPS_TO_BRAND, Draft(raw, self._brands))
        return None if draft.match.brand is None else _enriched(_run(STEPS_TO_LABELS, draft))

    def enrich_batch(self, raws: Sequence[RawMention]) -> list[EnrichedMention | None]:
        """Return `enrich` of each of `raws`, in their order."""
        return [self.enrich(raw) for raw in raws]

    def label(self, raw: RawMention) -> EnrichedMention:
        """Return the mention with its labels, and the brand "" when it names none and matches none."""
        return _enriched(_run(STEPS, Draft(raw, self._brands)))


def _run(steps: Sequence[Step], draft: Draft) -> Draft:
    for step in steps:
        draft = step(draft)
    return draft


def _enriched(draft: Draft) -> EnrichedMention:
    # Not validated again: the mention was when it came in, and the labels are made here.
    fields = dict(draft.mention)
    fields |= {
        "schema_version": SCHEMA_VERSION,
        "brand": draft.match.brand or "",
        "other_brands": draft.match.others,
        "language": draft.language,
        "sentiment": draft.sentiment.score,
        "sentiment_label": draft.sentiment.label,
        "confidence": draft.sentiment.confidence,
        "is_fail": draft.fail.is_fail,
        "fail_terms": draft.fail.terms,
        "is_question": draft.is_question,
        "topics": draft.topics,
        "stage": draft.stage,
        "author_kind": AuthorKind.EMPLOYER if draft.by_employer else AuthorKind.OTHER,
        "hashtags": draft.reading.hashtags,
        "model": MODEL,
    }
    return EnrichedMention.model_construct(**fields)
