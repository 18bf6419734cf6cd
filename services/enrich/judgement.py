"""From scores to labels: what is likeliest, how sure that is, and the words that weighed most."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from services.enrich.features import Words, clipped
from services.enrich.model import Floats, Head, Model, probabilities
from shared.events import AuthorKind, SentimentLabel, Stage

MAX_FAIL_TERMS = 10
UNSURE_BELOW = 0.4
"""A sentiment that is less likely than this is not called (docs/accuracy.md)."""
QUESTION_FROM = 0.5
EMPLOYER_FROM = 0.7
_OWN_CONFIDENCE = 0.9
_RATING = 4.0
"""What the best or worst rating adds to the score of positive or negative."""
_TELLING_TOKENS = 3
_LEAST_SHARE = 1e-6

SENTIMENT, FAIL, QUESTION, STAGE, AUTHOR = "sentiment", "fail", "question", "stage", "author_kind"
DOMAIN, GENERAL_SENTIMENT, GENERAL_QUESTION = "domain", "general_sentiment", "general_question"
"""The names of the heads."""


class Judgement(NamedTuple):
    """The labels of a mention that the model gives."""

    sentiment: float = 0.0
    sentiment_label: SentimentLabel = SentimentLabel.NEUTRAL
    confidence: float = 0.0
    sentiment_unsure: bool = False
    is_fail: bool = False
    fail_terms: tuple[str, ...] = ()
    is_question: bool = False
    stage: Stage = Stage.OTHER
    author_kind: AuthorKind = AuthorKind.OTHER


class Case(NamedTuple):
    """What a judgement of one text is made from, besides its scores."""

    tokens: Sequence[str]
    signs: tuple[str, ...]
    """The words that the lists take for a #fail."""
    rating: float | None
    """From -1 to 1."""
    by_employer: bool


def judged(
    model: Model, words: Words, scores: Floats, cases: Sequence[Case], own: Floats | None = None
) -> list[Judgement]:
    """Return the judgement of each text of a batch, given its words and scores.

    `own` is how likely negative, neutral and positive are by a model of one's own; None: by ours.

    An employer's own text is neutral, no #fail and no question, whether it is known to be one or the model
    takes it for one.
    """
    heads = {head.name: head for head in model.weights.heads}
    recruitment = probabilities(_logits(scores, heads[DOMAIN]))[:, 1:]
    felt = _mixed(scores, recruitment, heads[SENTIMENT], heads[GENERAL_SENTIMENT])
    if own is not None:
        felt = np.log(np.maximum(own, _LEAST_SHARE))
    asks = _mixed(scores, recruitment, heads[QUESTION], heads[GENERAL_QUESTION])
    fails = _fails(_logits(scores, heads[FAIL]), _logits(scores, heads[SENTIMENT]))
    each = zip(
        _feelings(felt, [case.rating for case in cases]),
        [likely or _says_so(case) for likely, case in zip(fails, cases, strict=True)],
        _likely(asks, QUESTION_FROM),
        _stages(scores, heads[STAGE]),
        _speakers(scores, heads[AUTHOR]),
        strict=True,
    )
    worth = model.token_worth(words, heads[FAIL])
    judgements = []
    for number, (feeling, is_fail, is_question, stage, speaker) in enumerate(each):
        case = cases[number]
        if case.by_employer or speaker is AuthorKind.EMPLOYER:
            silent = Judgement(confidence=_OWN_CONFIDENCE, stage=stage, author_kind=AuthorKind.EMPLOYER)
            judgements.append(silent)
            continue
        terms: tuple[str, ...] = ()
        if is_fail:
            here = slice(words.begins[number], words.begins[number + 1])
            terms = case.signs or _telling(worth[here].tolist(), case.tokens)
        judgements.append(Judgement(*feeling, is_fail, terms[:MAX_FAIL_TERMS], is_question, stage, speaker))
    return judgements


def _says_so(case: Case) -> bool:
    """Whether a text says #fail itself."""
    return bool(case.signs) and any(sign.startswith("#") for sign in case.signs)


def _mixed(scores: Floats, recruitment: Floats, about_it: Head, general: Head) -> Floats:
    """Return the logits of two heads, mixed by how likely a text is about recruitment."""
    mixed: Floats = recruitment * _logits(scores, about_it) + (1 - recruitment) * _logits(scores, general)
    return mixed


_Feeling = tuple[float, SentimentLabel, float, bool]
"""Score, label, confidence, and whether it is neutral for want of anything surer."""
_LABELS = (SentimentLabel.NEGATIVE, SentimentLabel.NEUTRAL, SentimentLabel.POSITIVE)


def _feelings(logits: Floats, ratings: Sequence[float | None]) -> Iterable[_Feeling]:
    """Return how each text feels, its rating included, given the logits of _LABELS; shape (texts, 3)."""
    rated = _RATING * np.array([rating or 0.0 for rating in ratings])
    logits[:, 0] -= rated
    logits[:, 2] += rated
    shares = np.round(probabilities(logits), 4)
    negative, neutral, positive = shares.T
    best = shares.max(1)
    unsure = best < UNSURE_BELOW
    chosen = np.where(unsure | (best == neutral), 1, np.where(best == positive, 2, 0))
    return zip(
        np.round(positive - negative, 4).tolist(),
        [_LABELS[number] for number in chosen.tolist()],
        best.tolist(),
        unsure.tolist(),
        strict=True,
    )


def _logits(scores: Floats, head: Head) -> Floats:
    return scores[:, head.columns] / head.temperature


def _fails(says: Floats, feels: Floats) -> list[bool]:
    """Return whether each text is a #fail: by what the head says, and as much by how negative it feels.

    Of ten negative texts about recruitment nine are a #fail, so each of the two knows something of the other.
    """
    # The odds of both together are even where the two shares add up to one.
    together = np.round(probabilities(says)[:, 1], 4) + np.round(probabilities(feels)[:, 0], 4)
    fails: list[bool] = (np.round(together, 4) >= 1).tolist()
    return fails


def _likely(logits: Floats, least: float) -> list[bool]:
    """Return whether the second answer, yes, is as likely as `least`."""
    likely: list[bool] = (np.round(probabilities(logits)[:, 1], 4) >= least).tolist()
    return likely


def _speakers(scores: Floats, head: Head) -> list[AuthorKind]:
    """Return who speaks; the employer itself only where that is quite sure, as its texts count nowhere."""
    shares = probabilities(_logits(scores, head))
    employer = head.answers.index(AuthorKind.EMPLOYER)
    shares[shares[:, employer] < EMPLOYER_FROM, employer] = 0.0
    answers = [AuthorKind(answer) for answer in head.answers]
    return [answers[number] for number in shares.argmax(1).tolist()]


def _stages(scores: Floats, head: Head) -> list[Stage]:
    answers = [Stage(answer) for answer in head.answers]
    return [answers[number] for number in scores[:, head.columns].argmax(1).tolist()]


def _telling(worth: Sequence[int], tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the words that speak most for a #fail, in their order, given how much each token does."""
    tokens = clipped(tokens)
    named = [(-worth[place], place) for place, token in enumerate(tokens) if token[0].isalnum()]
    best = sorted(place for _, place in sorted(named)[:_TELLING_TOKENS])
    return tuple(dict.fromkeys(tokens[place] for place in best))
