"""Terms: how word lists are written, read and found.

A list is a text file of sections; in each stand terms, separated by commas or line ends:

    # A comment.
    [rejection]
    afgewezen, niet geselecteerd
    wij|we gaan niet met je verder

How a term is written:

    niks gehoord          these words in this order, case and accents ignored
    fijn/e/er/ste         fijn, fijne, fijner and fijnste
    wij|we gaan           wij gaan, we gaan
    teleurstell*          a word that begins so; *klimaat: one that ends so
    al 3 weken            a number stands for any number, in digits or in words
    ^ wanneer             at the begin of a sentence
    toch?                 "?" and "!" stand for themselves
    nog steeds .. gehoord the one and then the other, in one sentence, at most 8 words between; and so on

All terms of a list are compiled into one automaton: finding them takes time that grows with the text alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from ahocorasick_rs import AhoCorasick, MatchKind

from services.enrich.reading import line_of, tokens_of
from shared.errors import ConfigError

MAX_WORDS_BETWEEN = 8
V = TypeVar("V")

_ROOT = 0
_FAR = 200
"""Characters further than which nothing is near, so that looking is bounded."""


class Entry(NamedTuple):
    """One term of a list, its endings written out."""

    section: str
    term: str


Hit = tuple[V, int, int]
"""What a term stands for, found at [start, end) of a line. Not named: a text has a dozen of them."""


def read_list(path: Path) -> tuple[Entry, ...]:
    """Return the entries of the list at `path`.

    Raises ConfigError, which names the line, on a term outside a section, a malformed or a double one.
    """
    entries: dict[Entry, int] = {}
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        content = "" if line.startswith("# ") else line.strip()
        if content.startswith("[") and content.endswith("]"):
            section = content[1:-1].strip()
            continue
        for written in filter(None, (part.strip() for part in content.split(","))):
            for term in spelt_out(written, f"{path.name}, line {number}"):
                entry = Entry(section, term)
                if not section:
                    raise ConfigError(f"{path}, line {number}: {term!r} stands before the first [section].")
                if entry in entries:
                    first = entries[entry]
                    raise ConfigError(f"{path}, line {number}: {term!r} stands already on line {first}.")
                entries[entry] = number
    if not entries:
        raise ConfigError(f"{path} has no terms.")
    return tuple(entries)


def spelt_out(written: str, where: str) -> list[str]:
    """Return the terms that `written` stands for, its endings written out; each normalised."""
    words = [_endings(word) for word in written.split()]
    terms = [" ".join(choice) for choice in product(*words)]
    for term in terms:
        if not all(patterns_of(term)):
            raise ConfigError(f"{where}: {written!r} is not a term; see services/enrich/terms.py.")
    return terms


def _endings(word: str) -> list[str]:
    forms = []
    for alternative in word.split("|"):
        stem, *endings = alternative.split("/")
        forms += [stem, *(stem + ending for ending in endings)]
    return forms


def patterns_of(term: str) -> list[str]:
    """Return the substrings of a line that `term` is found by: one, and one more for each gap ("..")."""
    return [_pattern(part.strip()) for part in term.split("..")]


def _pattern(part: str) -> str:
    anchored = part.startswith("^")
    words = part.removeprefix("^").strip()
    open_start, open_end = words.startswith("*"), words.endswith("*")
    tokens = tokens_of(words.strip("*"))
    if not tokens:
        return ""
    line = line_of([".", *tokens] if anchored else tokens)
    return (line[1:] if open_start else line)[: -1 if open_end else None]


class Matcher(Generic[V]):
    """Finds terms in lines. With `longest`, only the leftmost longest of overlapping ones; else all.

    Terms with gaps form a tree: a node stands for the parts that were found so far, the root for none.
    """

    def __init__(self, terms: Iterable[tuple[str, V]], *, longest: bool = False) -> None:
        index: dict[str, int] = {}
        self._moves: list[dict[int, int]] = []
        """By atom: from which node it leads to which."""
        self._values: list[list[V]] = [[]]
        """By node: what is found there."""
        inner: set[int] = set()
        for term, value in terms:
            node = _ROOT
            if term.isdigit():
                raise ConfigError(f"The term {term!r} would find every number: give it a word beside it.")
            for pattern in patterns_of(term):
                inner.add(node)
                node = self._child(node, self._atom(pattern, index))
            self._values[node].append(value)
        self._inner = frozenset(inner)
        self._whole = [
            self._values[moves[_ROOT]] if moves.keys() == {_ROOT} else None for moves in self._moves
        ]
        """By atom: what is found with it alone; None when it is also, or only, a part of something."""
        for atom, moves in enumerate(self._moves):
            if _ROOT in moves and moves[_ROOT] in inner:
                self._whole[atom] = None
        self._overlapping = not longest
        kind = MatchKind.LeftmostLongest if longest else MatchKind.Standard
        self._automaton = AhoCorasick(list(index), matchkind=kind)

    def _atom(self, pattern: str, index: dict[str, int]) -> int:
        if pattern not in index:
            index[pattern] = len(index)
            self._moves.append({})
        return index[pattern]

    def _child(self, node: int, atom: int) -> int:
        if node not in self._moves[atom]:
            self._moves[atom][node] = len(self._values)
            self._values.append([])
        return self._moves[atom][node]

    def find(self, line: str) -> list[Hit[V]]:
        """Return the terms in `line`, by where they end."""
        hits: list[Hit[V]] = []
        begun: dict[int, tuple[int, int]] = {}
        values, inner, whole = self._values, self._inner, self._whole
        for atom, start, end in self._automaton.find_matches_as_indexes(line, self._overlapping):
            if (alone := whole[atom]) is not None:
                for value in alone:
                    hits.append((value, start, end))
                continue
            moves = self._moves[atom]
            reached = [(moves[_ROOT], start)] if _ROOT in moves else []
            for node in begun.keys() & moves.keys():
                since, until = begun[node]
                if _near(line, until, start):
                    reached.append((moves[node], since))
            for node, since in reached:
                for value in values[node]:
                    hits.append((value, since, end))
                if node in inner:
                    begun[node] = (since, end)
        return hits


def _near(line: str, end: int, start: int) -> bool:
    """Whether what begins at `start` follows in the sentence of what ended at `end`, few words later."""
    if start < end or start - end > _FAR:
        return False
    return line.count("  ", end, start) < MAX_WORDS_BETWEEN and " . " not in line[end - 1 : start + 1]


def shown(line: str, tokens: Sequence[str], start: int, end: int) -> str:
    """Return the words at [start, end) of a line of `tokens`, whole and without full stops and commas."""
    first, last = line.count("  ", 0, start + 1), line.count("  ", 0, end - 1)
    return " ".join(token for token in tokens[first : last + 1] if token not in {".", ","})


def literal_words(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the words of which terms are made, wildcards and marks left out."""
    for entry in entries:
        for word in entry.term.replace("..", " ").split():
            if "*" not in word:
                yield from (token for token in tokens_of(word) if token.isalpha())
