"""The learned model: heads that share features. Whole numbers, so that a batch and a single text agree.

A head is a question with its answers (sentiment: negative, neutral, positive). The score of an answer is the
sum of the weights of the text's features: those of words and pairs divided by the root of how many tokens
there are, those of marks as they are. Weights are stored as bytes with one scale a head;
services/enrich/training makes them.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from services.enrich.features import (
    SPACE,
    Numbers,
    Vocabulary,
    Words,
    begins_of,
    hashed,
    pairs_of,
    word_features,
)
from shared.errors import ConfigError

PATH = Path(__file__).parent / "weights" / "klankbord-linear-1.npz"
MAX_WORDS = 200_000
"""Words whose sums are kept; beyond that all are forgotten and met anew: memory is bounded (30 MB)."""
HEADS = frozenset(
    {
        *("sentiment", "fail", "question", "stage", "author_kind", "language"),
        *("domain", "general_sentiment", "general_question"),
    }
)
"""The heads that a model must have."""
MAX_FILE_BYTES = 100_000_000

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int16]


class Head(NamedTuple):
    """One question to a text, and which columns of the weights answer it."""

    name: str
    answers: tuple[str, ...]
    columns: slice
    temperature: float
    """What scores are divided by, so that probabilities are right as often as they say."""


class Weights(NamedTuple):
    """What training makes and a file holds."""

    name: str
    heads: tuple[Head, ...]
    features: Numbers
    """The features that have weights, rising; shape (n,)."""
    rows: npt.NDArray[np.int8]
    """Their weights; shape (n, answers of all heads)."""
    scales: Floats
    """What a weight of 1 is worth, by column."""

    def head(self, name: str) -> Head:
        """Return the head that is called `name`."""
        return next(head for head in self.heads if head.name == name)


def version_of(weights: Weights) -> str:
    """Return the name of a model and a digest of what it learned: other weights, another version."""
    digest = 0
    for array in (weights.features, weights.rows, weights.scales):
        digest = crc32(np.ascontiguousarray(array).tobytes(), digest)
    return f"{weights.name}.{digest:08x}"


class Model:
    """Weights, ready to score texts. Remembers the words it has met. Not for two threads at once."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._slots = np.zeros(SPACE, np.int32)
        self._slots[weights.features] = np.arange(1, len(weights.features) + 1)
        # Two bytes a weight: adding up is mostly waiting for memory, and MAX_TOKENS of them cannot overflow.
        self._rows = np.vstack(
            [np.zeros((1, weights.rows.shape[1]), np.int16), weights.rows.astype(np.int16)]
        )
        self._marks: dict[str, int] = {}
        self._forget()

    def _forget(self) -> None:
        self._vocabulary = Vocabulary()
        self._sums = np.zeros((1, self._rows.shape[1]), np.int32)
        self._hashes = self._vocabulary.hashes()

    def words_of(self, texts: Sequence[Sequence[str]]) -> Words:
        """Return the tokens of `texts`, good until this is called again.

        A token is as it stands in `Reading.line`: folded, numbers as "0", "." at the ends of sentences.
        """
        if len(self._vocabulary) > MAX_WORDS:
            self._forget()
        known = len(self._vocabulary)
        words = self._vocabulary.words_of(texts)
        if len(self._vocabulary) > known:
            new = self._vocabulary.known[known:]
            sums = [self._rows[self._slots[word_features(word)]].sum(0, np.int32) for word in new]
            self._sums = np.vstack([self._sums, np.array(sums, np.int32)])
            self._hashes = self._vocabulary.hashes()
        return words

    def word_scores(self, words: Words, head: Head) -> Floats:
        """Return the scores of the answers of `head` by words alone; shape (texts, answers)."""
        sums = _sums(words.numbers, words.begins, self._sums[:, head.columns])
        return sums * (_shares(words.begins) * self.weights.scales[head.columns]) / head.temperature

    def score(self, words: Words, marks: Sequence[Sequence[str]]) -> Floats:
        """Return the scores of all answers for each text, not yet divided by temperatures.

        `words` and `marks` are those of the texts. Shape (texts, columns).
        """
        sums = _sums(words.numbers, words.begins, self._sums)
        for features, begins in pairs_of(words, self._hashes):
            rows = self._slots[features]
            met = rows > 0
            places = np.concatenate(([0], np.cumsum(met)))
            sums += _sums(rows[met], places[begins], self._rows)
        return (sums * _shares(words.begins) + self._mark_sums(marks)) * self.weights.scales

    def token_worth(self, words: Words, head: Head) -> Ints:
        """Return what each token adds to the sum of `head`'s second answer (yes) above its first."""
        no, yes = self._sums[:, head.columns].T
        worth: Ints = (yes - no)[words.numbers]
        return worth

    def worth_of_word(self, word: str, head: Head, answer: int) -> float:
        """Return how much a word by itself speaks for an answer, before it is divided among the tokens."""
        return self._worth(self._rows[self._slots[word_features(word)]].sum(0, np.int32), head, answer)

    def worth_of_feature(self, feature: int, head: Head, answer: int) -> float:
        """Return how much a feature speaks for an answer, before it is divided among the tokens."""
        return self._worth(self._rows[self._slots[feature]].astype(np.int32), head, answer)

    def worth_of_mark(self, mark: str, head: Head, answer: int) -> float:
        """Return how much a mark speaks for an answer."""
        return self.worth_of_feature(hashed(f"m:{mark}"), head, answer)

    def _worth(self, row: Ints, head: Head, answer: int) -> float:
        """Return the log-odds of an answer against the mean of the others that `row` gives."""
        own = row[head.columns]
        others = (own.sum() - own[answer]) / (len(own) - 1)
        return float((own[answer] - others) * self.weights.scales[head.columns.start] / head.temperature)

    def _mark_sums(self, marks: Sequence[Sequence[str]]) -> Ints:
        known = self._marks
        try:
            rows = [known[mark] for some in marks for mark in some]
        except KeyError:
            for mark in {mark for some in marks for mark in some} - known.keys():
                self._mark(mark)
            return self._mark_sums(marks)
        return _sums(np.array(rows, np.int32), begins_of(marks), self._rows)

    def _mark(self, mark: str) -> None:
        # Row 0 has no weights; marks are a closed set, so this does not grow without bound.
        self._marks[mark] = int(self._slots[hashed(f"m:{mark}")])


def _shares(begins: Numbers) -> Floats:
    """Return what sums over tokens are multiplied by; shape (texts, 1)."""
    shares: Floats = 1.0 / np.sqrt(np.maximum(np.diff(begins), 1).astype(np.float64))
    return shares[:, None]


def _sums(numbers: Numbers | Ints, begins: Numbers, rows: Ints | Rows) -> Ints:
    """Return, for each text, the sum of the rows that it has the numbers of; shape (texts, columns).

    Whole numbers: in whatever order they are added, the sum is the same.
    """
    ones = np.ones(len(numbers), rows.dtype)
    shape = (len(begins) - 1, len(rows))
    sums: Ints = (csr_array((ones, numbers, begins), shape=shape) @ rows).astype(np.int32)
    return sums


def probabilities(logits: Floats) -> Floats:
    """Return the probability of each answer of a head; shape (texts, answers)."""
    weights = np.exp(logits - logits.max(1, keepdims=True))
    shares: Floats = weights / weights.sum(1, keepdims=True)
    return shares


def save(path: Path, weights: Weights) -> None:
    """Write `weights` to `path`, the same bytes for the same weights."""
    heads = [(head.name, ",".join(head.answers), str(head.temperature)) for head in weights.heads]
    arrays: Mapping[str, npt.NDArray[np.generic]] = {
        "name": np.array(weights.name),
        "heads": np.array(heads),
        "features": weights.features.astype(np.uint32),
        "rows": weights.rows,
        "scales": weights.scales,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load(path: Path) -> Weights:
    """Return the weights in the file at `path`. Raises ConfigError when it is missing or no such file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes: no model of klankbord train.")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            heads = _heads(arrays["heads"].tolist())
            if missing := HEADS - {head.name for head in heads}:
                raise ValueError(f"it does not answer {', '.join(sorted(missing))}")
            columns = heads[-1].columns.stop
            weights = Weights(
                str(arrays["name"]),
                heads,
                arrays["features"].astype(np.int64),
                arrays["rows"],
                arrays["scales"],
            )
            if weights.rows.shape != (len(weights.features), columns) or weights.rows.dtype != np.int8:
                raise ValueError("its parts do not fit together")
            if len(weights.features) and not 0 <= weights.features[-1] < SPACE:
                raise ValueError("it has features that there cannot be")
            return weights
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: make a model with `klankbord train`.") from None
    except (OSError, EOFError, ValueError, KeyError, IndexError, BadZipFile) as error:
        raise ConfigError(f"{path} is no model of klankbord train: {error}.") from None


def _heads(table: Sequence[Sequence[str]]) -> tuple[Head, ...]:
    heads, begin = [], 0
    for name, answers, temperature in table:
        names = tuple(answers.split(","))
        heads.append(Head(name, names, slice(begin, begin + len(names)), float(temperature)))
        begin += len(names)
    return tuple(heads)


@lru_cache(maxsize=1)
def shipped() -> Weights:
    """Return the weights that come with Klankbord."""
    return load(PATH)
