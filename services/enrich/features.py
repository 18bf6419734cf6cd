"""What the learned model reads of a text: features of its words, of what stands side by side, and marks.

A feature is a number below SPACE, the hash of its name. A word has features of its own (itself, its parts,
its class), which are known once the word is; pairs of words and of classes are hashed for a whole batch at
once. A mark is a fact of the text as a whole: what the word lists found in it, its kind, its length.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.enrich.lexicon import word_classes

SPACE = 1 << 20
"""How many different features there can be; of the some 200,000 that training meets, few share a number."""
MAX_TOKENS = 256
"""Tokens of a text that are read, the first half and the last half: their sums of bytes fit in two bytes."""
_PARTS = (3, 4, 5)
_LONGEST_WORD = 24
_MASK = np.uint64(SPACE - 1)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(44)

Numbers = npt.NDArray[np.int64]


class Words(NamedTuple):
    """The tokens of a batch of texts, one text after the other."""

    numbers: Numbers
    """Of each token, its number in the vocabulary."""
    begins: Numbers
    """Where the tokens of each text begin, and the end; shape (texts + 1,)."""


class Pairs(NamedTuple):
    """Features of what stands side by side in a batch of texts."""

    features: Numbers
    begins: Numbers
    """Where the features of each text begin, and the end; shape (texts + 1,)."""


def hashed(name: str) -> int:
    """Return the feature of a name."""
    return crc32(name.encode("utf-8", "surrogatepass")) * 2_654_435_761 >> 7 & (SPACE - 1)


def word_features(word: str) -> list[int]:
    """Return the features of a word by itself: the word, its class and its parts of 3 to 5 letters."""
    return [hashed(f"w:{word}"), *class_features(word), *part_features(word)]


def class_features(word: str) -> list[int]:
    """Return the features of the classes of a word."""
    return [hashed(f"c:{name}") for name in word_classes(word)]


def part_features(word: str) -> list[int]:
    """Return the features of the parts of a word, its begin and end marked; of a long one, of its begin."""
    if not word.isalpha() or len(word) < _PARTS[0]:
        return []
    marked = f"<{word[:_LONGEST_WORD]}>"
    sizes = [size for size in _PARTS if size < len(marked)]
    return [hashed(f"p:{marked[i : i + size]}") for size in sizes for i in range(len(marked) - size + 1)]


def clipped(tokens: Sequence[str]) -> Sequence[str]:
    """Return at most MAX_TOKENS of `tokens`: what a long text begins and ends with."""
    if len(tokens) <= MAX_TOKENS:
        return tokens
    half = MAX_TOKENS // 2
    return [*tokens[:half], *tokens[-half:]]


class Vocabulary:
    """The words met so far, numbered; 0 stands for no word. Not for two threads at once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.known: list[str] = [""]
        self._hashes: list[int] = [0]
        self._classes: list[int] = [0]

    def __len__(self) -> int:
        return len(self.known)

    def words_of(self, texts: Sequence[Sequence[str]]) -> Words:
        """Return the tokens of `texts`, of which at most MAX_TOKENS each are read."""
        tokens = [clipped(text) for text in texts]
        known, flat = self._numbers, list(chain.from_iterable(tokens))
        try:
            numbers = [known[token] for token in flat]
        except KeyError:
            numbers = [known.get(token) or self._add(token) for token in flat]
        return Words(np.array(numbers, np.int64), begins_of(tokens))

    def _add(self, word: str) -> int:
        number = self._numbers[word] = len(self.known)
        self.known.append(word)
        self._hashes.append(_word_hash(word))
        classes = word_classes(word)
        self._classes.append(crc32(classes[0].encode()) | 1 << 33 if classes else 0)
        return number

    def hashes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Return, by number, the hash of each word, and that of its first class (0: it has none)."""
        return np.array(self._hashes, np.uint64), np.array(self._classes, np.uint64)


def _word_hash(word: str) -> int:
    return crc32(word.encode("utf-8", "surrogatepass")) | 1 << 32


_ENDS = frozenset(".?!")
_END_HASHES = np.array([_word_hash(mark) for mark in sorted(_ENDS)], np.uint64)


def begins_of(lists: Sequence[Sequence[object]]) -> Numbers:
    """Return where each list begins when they stand one after the other, and the end; shape (lists + 1,)."""
    begins = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(some) for some in lists], out=begins[1:])
    return begins


def pairs_of(words: Words, hashes: tuple[npt.NDArray[np.uint64], ...]) -> list[Pairs]:
    """Return what stands side by side in a batch: words, classes, and classes among the classes alone.

    A word without a class stands for itself between classes; among the classes it is passed over. Beside
    those, last, the words of each text's last sentence, which often says what it all comes down to.
    """
    numbers, begins = words
    owners = np.repeat(np.arange(len(begins) - 1, dtype=np.int32), np.diff(begins))
    hashed_words, classes = hashes[0][numbers], hashes[1][numbers]
    classed = classes > 0
    mixed = np.where(classed, classes, hashed_words)
    among, among_owners = classes[classed], owners[classed]
    found = [
        _joined((hashed_words[:-1], hashed_words[1:]), owners, 1),
        _joined((mixed[:-1], mixed[1:]), owners, 2),
        _joined((mixed[:-2], mixed[1:-1], mixed[2:]), owners, 3),
        _joined((among[:-1], among[1:]), among_owners, 4),
        _joined((among[:-2], among[2:]), among_owners, 5),
    ]
    last = _in_last_sentence(hashed_words, owners)
    found.append((_mixed((hashed_words[last],), 6), owners[last]))
    texts = np.arange(len(begins), dtype=np.int32)
    return [Pairs(features, np.searchsorted(where, texts)) for features, where in found]


def _joined(
    parts: Sequence[npt.NDArray[np.uint64]], owners: npt.NDArray[np.int32], kind: int
) -> tuple[Numbers, npt.NDArray[np.int32]]:
    """Return the features of what stands in `parts` at the same place, in one text, and whose they are."""
    apart = len(owners) - len(parts[0])
    inside = owners[:-apart] == owners[apart:]
    return _mixed(parts, kind)[inside], owners[apart:][inside]


def _mixed(parts: Sequence[npt.NDArray[np.uint64]], kind: int) -> Numbers:
    mixed = np.full(len(parts[0]), kind, np.uint64)
    for part in parts:
        mixed = (mixed ^ part) * _MIX
    return ((mixed >> _SHIFT) & _MASK).astype(np.int64)


def _in_last_sentence(
    hashed_words: npt.NDArray[np.uint64], owners: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Return which tokens are words of the last sentence of their text; shape (tokens,)."""
    words = np.flatnonzero(~np.isin(hashed_words, _END_HASHES))
    follows = np.diff(words, prepend=-2) != 1
    sentences = np.cumsum(follows | (np.diff(owners[words], prepend=-1) != 0))
    last_of_text = np.diff(owners[words], append=-1) != 0
    last = np.zeros(len(hashed_words), bool)
    last[words] = np.isin(sentences, sentences[last_of_text])
    return last


def pairs_named(tokens: Sequence[str]) -> list[tuple[str, int]]:
    """Return the features of what stands side by side in one text, each with the words that it is of."""
    vocabulary = Vocabulary()
    words = vocabulary.words_of([tokens])
    classed = [token for token in tokens if word_classes(token)]
    names = (
        _side_by_side(tokens, 2),
        _side_by_side(tokens, 2),
        _side_by_side(tokens, 3),
        _side_by_side(classed, 2, " … "),
        [f"{left} … {right}" for left, right in zip(classed, classed[2:], strict=False)],
        [f"{word} (last sentence)" for word in _last_sentence(tokens)],
    )
    pairs = pairs_of(words, vocabulary.hashes())
    return [
        (name, int(feature))
        for kind, of_kind in zip(names, pairs, strict=True)
        for name, feature in zip(kind, of_kind.features, strict=True)
    ]


def _last_sentence(tokens: Sequence[str]) -> Sequence[str]:
    end = max((at + 1 for at, token in enumerate(tokens) if token not in _ENDS), default=0)
    begin = max((at + 1 for at in range(end) if tokens[at] in _ENDS), default=0)
    return tokens[begin:end]


def _side_by_side(tokens: Sequence[str], many: int, between: str = " ") -> list[str]:
    return [between.join(tokens[at : at + many]) for at in range(len(tokens) - many + 1)]
