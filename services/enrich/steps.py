"""How mentions are enriched: STEPS, read from top to bottom. Each fills something in for a whole batch.

The word lists say what they see; the learned model weighs that together with the words themselves
(features.py, marks.py, model.py). What is said of one mention never depends on the others in its batch.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.enrich.brands import BrandMatch, Brands
from services.enrich.cues import NO_CUES, Cues, sort_cues
from services.enrich.features import Words
from services.enrich.journey import stage_of
from services.enrich.judgement import Case, Judgement, judged
from services.enrich.language import languages_of, load_language_model
from services.enrich.lexicon import lexicons
from services.enrich.mails import own_words
from services.enrich.marks import Seen, marks_of
from services.enrich.model import Model, Weights, shipped, version_of
from services.enrich.own_model import OwnModel
from services.enrich.reader import reader
from services.enrich.reading import Reading
from services.enrich.sentiment import sentiment_of
from services.enrich.signals import advertises, fail_of, is_question
from services.enrich.topics import OwnTopics, topics_of
from services.enrich.why import why
from shared.brands import BrandBook
from shared.events import SCHEMA_VERSION, AuthorKind, EnrichedMention, Kind, Language, RawMention, Stage

_NOTHING_READ = Reading("", (), "", (), frozenset(), False, False)
_NO_MATCH = BrandMatch(None)
_NO_JUDGEMENT = Judgement()


@dataclass(slots=True)
class Draft:
    """A mention on its way through the steps."""

    mention: RawMention
    written: str = ""
    reading: Reading = _NOTHING_READ
    match: BrandMatch = _NO_MATCH
    language: Language = Language.UNDETERMINED
    cues: Cues = NO_CUES
    by_employer: bool = False
    tokens: Sequence[str] = ()
    marks: Sequence[str] = ()
    """What is so of the text as a whole: with the tokens, what the model reads."""
    fail_terms: tuple[str, ...] = ()
    """What the lists take for signs of a #fail."""
    judgement: Judgement = _NO_JUDGEMENT
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tools:
    """What steps look things up in."""

    brands: Brands
    topics: OwnTopics
    model: Model
    own: OwnModel | None = None


@dataclass(slots=True)
class Batch:
    """The mentions that are on their way together."""

    drafts: Sequence[Draft]
    words: Words | None = None
    """Their tokens, once the model has numbered them."""


def leave_out_quotes(batch: Batch, _tools: Tools) -> None:
    """Keep what the writer wrote: of a mail neither the history nor the signature."""
    for draft in batch.drafts:
        mention = draft.mention
        draft.written = own_words(mention.text) if mention.kind is Kind.MAIL else mention.text


def read_text(batch: Batch, _tools: Tools) -> None:
    """Cut the text into tokens, split hashtags, mend stretched words."""
    read = reader().read
    for draft in batch.drafts:
        draft.reading = read(draft.written)
        draft.tokens = draft.reading.line.split()


def match_brands(batch: Batch, tools: Tools) -> None:
    """Find the brand, by name or by terms, and whether it speaks itself."""
    for draft in batch.drafts:
        mention = draft.mention
        draft.match = tools.brands.match(draft.reading, mention.brand, mention.author)


def tell_languages(batch: Batch, tools: Tools) -> None:
    """Tell Dutch, English and the rest apart."""
    batch.words = tools.model.words_of([draft.tokens for draft in batch.drafts])
    readings = [draft.reading for draft in batch.drafts]
    hints = [draft.mention.language_hint for draft in batch.drafts]
    languages = languages_of(tools.model, batch.words, readings, hints)
    for draft, language in zip(batch.drafts, languages, strict=True):
        draft.language = language


def find_cues(batch: Batch, _tools: Tools) -> None:
    """Find the terms that are signs of a #fail, a question, a topic or a stage."""
    known = lexicons()
    for draft in batch.drafts:
        draft.cues = sort_cues(known[draft.language].cues.find(draft.reading.line))
        draft.by_employer = draft.match.by_employer or advertises(draft.cues)


def take_marks(batch: Batch, _tools: Tools) -> None:
    """Note what the lists make of the text as a whole, as marks for the model to weigh."""
    for draft in batch.drafts:
        mention, reading, cues = draft.mention, draft.reading, draft.cues
        asks = is_question(reading.line, cues)
        feeling = sentiment_of(reading, lexicons()[draft.language].tones, cues, asks=asks)
        stage = stage_of(reading.line, cues, review=mention.kind is Kind.REVIEW)
        rating = rating_of(mention)
        about_work = stage is not Stage.OTHER or rating is not None
        fail = fail_of(reading, cues, feeling, about_work=about_work, asks=asks)
        seen = Seen(reading, cues, feeling, fail.is_fail, asks, stage)
        draft.fail_terms = fail.terms
        draft.marks = marks_of(seen, draft.language, mention.kind, rating)


def judge(batch: Batch, tools: Tools) -> None:
    """Weigh it all: sentiment, #fail, question, stage, who speaks. What the employer says is neutral."""
    drafts, words = batch.drafts, batch.words
    assert words is not None  # tell_languages comes before.
    scores = tools.model.score(words, [draft.marks for draft in drafts])
    cases = [Case(d.tokens, d.fail_terms, rating_of(d.mention), d.by_employer) for d in drafts]
    own = tools.own.sentiments([draft.written for draft in drafts]) if tools.own else None
    for draft, judgement in zip(drafts, judged(tools.model, words, scores, cases, own), strict=True):
        draft.judgement = judgement


def tag_topics(batch: Batch, tools: Tools) -> None:
    """Tag what it is about."""
    for draft in batch.drafts:
        draft.topics = topics_of(draft.cues, tools.topics.find(draft.reading.line))


Step = Callable[[Batch, Tools], None]

STEPS_TO_BRAND: tuple[Step, ...] = (
    leave_out_quotes,
    read_text,
    match_brands,
)
STEPS_TO_LABELS: tuple[Step, ...] = (
    tell_languages,
    find_cues,
    take_marks,
    judge,
    tag_topics,
)
STEPS: tuple[Step, ...] = STEPS_TO_BRAND + STEPS_TO_LABELS

Timed = Callable[[str, float], None]
"""Is told the name of a step and how many seconds a batch took in it."""


class Enricher:
    """Labels mentions for one brand book. Same mention, same answer; built once, may be shared by threads.

    `timed` is told how long each step takes. Raises ConfigError when a term of the book cannot be found in
    any text, or a word list or the model is malformed.
    """

    def __init__(self, book: BrandBook, weights: Weights | None = None, timed: Timed | None = None) -> None:
        self.weights = weights or shipped()
        folder = book.enrich.folder
        own = OwnModel(folder) if folder else None
        self._tools = Tools(Brands(book), OwnTopics(book), Model(self.weights), own)
        version = version_of(self.weights)
        self.model_name = f"{version}+{own.name}" if own else version
        self._timed = timed
        self._lock = threading.Lock()
        # Load now what else the first mention would wait for.
        lexicons()
        load_language_model()

    def enrich(self, raw: RawMention) -> EnrichedMention | None:
        """Return the mention with its labels; None when it names no brand and matches none."""
        return self.enrich_batch([raw])[0]

    def enrich_batch(self, raws: Sequence[RawMention]) -> list[EnrichedMention | None]:
        """Return `enrich` of each of `raws`, in their order."""
        drafts = self.drafts(raws, STEPS_TO_BRAND)
        self._run(STEPS_TO_LABELS, [draft for draft in drafts if draft.match.brand is not None])
        return [None if draft.match.brand is None else self._enriched(draft) for draft in drafts]

    def label(self, raw: RawMention) -> EnrichedMention:
        """Return the mention with its labels, and the brand "" when it names none and matches none."""
        return self.label_batch([raw])[0]

    def label_batch(self, raws: Sequence[RawMention]) -> list[EnrichedMention]:
        """Return `label` of each of `raws`, in their order."""
        return [self._enriched(draft) for draft in self.drafts(raws, STEPS)]

    def why(self, raw: RawMention) -> dict[str, dict[str, object]]:
        """Return why a mention gets its labels (services/enrich/why.py)."""
        (draft,) = self.drafts([raw], STEPS)
        with self._lock:
            return why(self._tools.model, draft.tokens, draft.marks)

    def drafts(self, raws: Sequence[RawMention], steps: Sequence[Step]) -> list[Draft]:
        """Return what `steps` make of `raws`."""
        drafts = [Draft(raw) for raw in raws]
        self._run(steps, drafts)
        return drafts

    def _run(self, steps: Sequence[Step], drafts: Sequence[Draft]) -> None:
        if not drafts:
            return
        batch = Batch(drafts)
        with self._lock:
            for step in steps:
                begin = time.perf_counter()
                step(batch, self._tools)
                if self._timed is not None:
                    self._timed(step.__name__, time.perf_counter() - begin)

    def _enriched(self, draft: Draft) -> EnrichedMention:
        judgement = draft.judgement
        # Not validated again: the mention was when it came in, and the labels are made here.
        fields = draft.mention.__dict__ | {
            "schema_version": SCHEMA_VERSION,
            "brand": draft.match.brand or "",
            "other_brands": draft.match.others,
            "language": draft.language,
            "sentiment": judgement.sentiment,
            "sentiment_label": judgement.sentiment_label,
            "confidence": judgement.confidence,
            "sentiment_unsure": judgement.sentiment_unsure,
            "is_fail": judgement.is_fail,
            "fail_terms": judgement.fail_terms,
            "is_question": judgement.is_question,
            "topics": draft.topics,
            "stage": judgement.stage,
            "author_kind": AuthorKind.EMPLOYER if draft.by_employer else judgement.author_kind,
            "hashtags": draft.reading.hashtags,
            "model": self.model_name,
        }
        return _constructed(fields)


_FIELDS = frozenset(EnrichedMention.model_fields)


def _constructed(fields: dict[str, object]) -> EnrichedMention:
    """Return what EnrichedMention.model_construct(**fields) does, with all fields given; much faster."""
    mention = EnrichedMention.__new__(EnrichedMention)
    object.__setattr__(mention, "__dict__", fields)
    object.__setattr__(mention, "__pydantic_fields_set__", set(_FIELDS))
    object.__setattr__(mention, "__pydantic_extra__", None)
    object.__setattr__(mention, "__pydantic_private__", None)
    return mention


def rating_of(mention: RawMention) -> float | None:
    """Return the rating of a mention from -1 to 1, None without one.

    The worst mark is 1, except where a source also gives 0, or is a thumb.
    """
    if mention.rating is None:
        return None
    worst = 1.0 if mention.rating >= 1 and mention.rating_scale >= 3 else 0.0
    return 2 * (mention.rating - worst) / (mention.rating_scale - worst) - 1
