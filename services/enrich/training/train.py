"""The recipe: from labelled texts to weights. The same data give the same weights."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from services.enrich.features import (
    SPACE,
    Vocabulary,
    class_features,
    hashed,
    pairs_of,
    part_features,
    word_features,
)
from services.enrich.model import Floats, Head, Weights
from services.enrich.steps import Batch, Draft, find_cues, leave_out_quotes, read_text, take_marks
from services.enrich.training.data import ANSWERS, GENERAL, Example
from services.enrich.training.fit import Examples, fit, temperature
from shared.events import Language, Mention, RawMention

NAME = "klankbord-linear-1"
_WORD, _CLASS, _PART, _PAIR, _MARK = 1.0, 0.7, 0.35, 0.7, 0.5
"""What each kind of feature counts: how much of the penalty it escapes."""
_LEAST_TEXTS = 2
"""A feature of fewer texts than this is left out: it can only be learned by heart."""
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
_BYTE = 127


class Text(NamedTuple):
    """What the model reads of one example."""

    tokens: Sequence[str]
    marks: Sequence[str]


class HeadRecipe(NamedTuple):
    """How one head is fitted."""

    penalty: float
    iterations: int


RECIPES = {
    "sentiment": HeadRecipe(1.25, 80),
    "fail": HeadRecipe(0.75, 80),
    "question": HeadRecipe(1.1, 80),
    "stage": HeadRecipe(1.0, 80),
    "author_kind": HeadRecipe(1.5, 60),
    "language": HeadRecipe(0.3, 80),
    "domain": HeadRecipe(3.0, 40),
    "general_sentiment": HeadRecipe(2.5, 80),
    "general_question": HeadRecipe(1.5, 80),
}
_WORDS_ONLY = frozenset({"language"})
"""Heads that are asked before there are marks."""
_OF_LAST_SENTENCE = frozenset({"sentiment"})
"""Heads that also look at the words of the last sentence by themselves: the others did not gain by it."""

Tell = Callable[[str], None]


def train(examples: Sequence[Example], tell: Tell) -> Weights:
    """Return weights fitted to the examples of the parts train; those of the part dev set the temperatures.

    `tell` is given a line on each step. Examples of the part test take no part.
    """
    used = [example for example in examples if example.part != "test"]
    tell(f"reading {len(used):,} texts")
    drafts = drafts_of(used)
    texts = [Text(draft.tokens, draft.marks) for draft in drafts]
    found = _features(texts)
    columns = _columns(found.every)
    worth = sp.diags_array(_worth(texts)[columns])
    words, most, every = (some[:, columns] @ worth for some in found)
    tell(f"{len(columns):,} features")
    fitted = []
    for head in ANSWERS:
        features = words if head in _WORDS_ONLY else every if head in _OF_LAST_SENTENCE else most
        weights, degrees, counts = _fit_head(head, used, features)
        tell(f"{head}: {counts}, temperature {degrees}")
        fitted.append((head, worth @ weights, degrees))
    return _packed(columns, fitted)


def drafts_of(examples: Sequence[Example]) -> list[Draft]:
    """Return what the worker's own steps make of each example, up to what the model reads of it."""
    drafts = [Draft(mention_of(example), language=Language(example.language)) for example in examples]
    batch, tools = Batch(drafts), None
    for step in (leave_out_quotes, read_text, find_cues, take_marks):
        step(batch, tools)  # type: ignore[arg-type]  # These four look nothing up.
    return drafts


def mention_of(example: Example) -> RawMention:
    """Return an example as a mention of nobody in particular."""
    mention = Mention(
        source="training",
        text=example.text,
        published_at=_WHEN,
        kind=example.kind,
        rating=example.rating,
        rating_scale=example.rating_scale,
    )
    return RawMention.of(mention, _WHEN)


class Features(NamedTuple):
    """How often each feature is in each text, those of words and pairs over the root of its tokens."""

    words: sp.csr_matrix
    """Words alone."""
    most: sp.csr_matrix
    """Also what stands side by side, and marks."""
    every: sp.csr_matrix
    """Also the words of the last sentence by themselves."""


def _features(texts: Sequence[Text]) -> Features:
    rows = [row for row, text in enumerate(texts) for _ in text.marks]
    marks = [hashed(f"m:{mark}") for text in texts for mark in text.marks]
    marked = sp.csr_matrix((np.ones(len(marks)), (rows, marks)), shape=(len(texts), SPACE))
    vocabulary = Vocabulary()
    numbers, begins = tokens = vocabulary.words_of([text.tokens for text in texts])
    counts = sp.csr_matrix((np.ones(len(numbers)), numbers, begins), shape=(len(texts), len(vocabulary)))
    of_words = [(row, f) for row, word in enumerate(vocabulary.known) if row for f in word_features(word)]
    rows, columns = np.array(of_words).T
    words = counts @ sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(vocabulary), SPACE))
    *pairs, last = (
        sp.csr_matrix((np.ones(len(kind.features)), *kind), shape=(len(texts), SPACE))
        for kind in pairs_of(tokens, vocabulary.hashes())
    )
    most = sum(pairs, words)
    shares = sp.diags_array(1 / np.sqrt(np.maximum(np.diff(begins), 1)))
    return Features(
        (shares @ words).tocsr(),
        (shares @ most + marked).tocsr(),
        (shares @ (most + last) + marked).tocsr(),
    )


def _worth(texts: Sequence[Text]) -> Floats:
    """Return what each feature counts, by what kind it is; shape (SPACE,)."""
    worth = np.full(SPACE, _PAIR)
    words = sorted({token for text in texts for token in text.tokens})
    worth[[feature for word in words for feature in part_features(word)]] = _PART
    worth[[feature for word in words for feature in class_features(word)]] = _CLASS
    worth[[hashed(f"w:{word}") for word in words]] = _WORD
    worth[[hashed(f"m:{mark}") for text in texts for mark in text.marks]] = _MARK
    return worth


def _columns(features: sp.csr_matrix) -> np.typing.NDArray[np.int64]:
    texts = np.bincount(features.indices, minlength=SPACE)
    return np.flatnonzero(texts >= _LEAST_TEXTS)


def _fit_head(head: str, examples: Sequence[Example], features: sp.csr_matrix) -> tuple[Floats, float, str]:
    answers = ANSWERS[head]
    rows = np.array([row for row, example in enumerate(examples) if head in example.gold])
    labelled = [examples[row] for row in rows]
    gold = np.array([answers.index(example.gold[head]) for example in labelled])
    possible = np.ones((len(rows), len(answers)), bool)
    if "neutral" in answers:
        possible[[example.two_classes for example in labelled], answers.index("neutral")] = False
    learns = np.array([example.part == "train" for example in labelled])
    importance = np.array([example.importance_for(head) for example in labelled])
    recipe = RECIPES[head]
    weights = fit(
        Examples(features[rows[learns]], gold[learns], possible[learns], importance[learns]),
        recipe.penalty,
        recipe.iterations,
    )
    # Each by the talk that it is for: other talk has shares of answers of its own.
    wanted_own = not head.startswith(GENERAL)
    checks = ~learns & possible.all(1) & np.array([example.own == wanted_own for example in labelled])
    degrees = temperature(features[rows[checks]] @ weights, gold[checks])
    return weights, degrees, f"{learns.sum():,} to learn from, {checks.sum():,} to check by"


def as_bytes(weights: Floats) -> tuple[np.typing.NDArray[np.int8], float]:
    """Return a head's weights, not all nothing, as bytes, and what a byte of 1 is worth.

    The largest weight sets the scale. To cut the largest ones for finer steps costs much: they are those of
    "?" for the question, and of the words by which talk about recruitment is known.
    """
    scale = float(np.abs(weights).max()) / _BYTE
    return np.round(weights / scale).astype(np.int8), scale


def _packed(columns: np.typing.NDArray[np.int64], fitted: Sequence[tuple[str, Floats, float]]) -> Weights:
    """Return the weights as bytes; features whose weights are all nothing are left out."""
    heads, parts, scales, begin = [], [], [], 0
    for name, weights, degrees in fitted:
        answers = ANSWERS[name]
        heads.append(Head(name, answers, slice(begin, begin + len(answers)), degrees))
        begin += len(answers)
        part, scale = as_bytes(weights)
        parts.append(part)
        scales += [scale] * len(answers)
    rows = np.hstack(parts)
    kept = (rows != 0).any(1)
    return Weights(NAME, tuple(heads), columns[kept], rows[kept], np.array(scales))
