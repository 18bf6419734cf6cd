"""Which brands a text is about, by the names and terms in klankbord.toml: one compiled pass a text."""

from functools import lru_cache
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, MatchKind

from services.enrich.reader import reader
from services.enrich.reading import Reading, exact_line_of, fold
from shared.brands import Brand, BrandBook
from shared.errors import ConfigError
from shared.events import Author

_MARKS = frozenset(".,!?")


class BrandMatch(NamedTuple):
    """The brand of a mention (None: it names none and matches none), and others that it matches less well."""

    brand: str | None
    others: tuple[str, ...] = ()
    by_employer: bool = False
    """Whether its author is the brand itself."""


class _Term(NamedTuple):
    """A term of the brand at `owner` in the book's order; `excludes`: what has it is not about the brand."""

    owner: int
    text: str
    excludes: bool


class Brands:
    """The brands of a book, ready to be found.

    Names, words and phrases are found as whole words and as one hashtag; case and accents are ignored.
    Raises ConfigError on a term that has no letter or digit.
    """

    def __init__(self, book: BrandBook) -> None:
        patterns: dict[str, set[_Term]] = {}
        for owner, brand in enumerate(book.brands):
            for pattern, text, excludes in _patterns(brand):
                patterns.setdefault(pattern, set()).add(_Term(owner, text, excludes))
        self._terms = [tuple(terms) for terms in patterns.values()]
        self._automaton = AhoCorasick(list(patterns), matchkind=MatchKind.Standard)
        self._names = [brand.name for brand in book.brands]
        self._accounts = {brand.name: _accounts(brand) for brand in book.brands}
        self._named = lru_cache(maxsize=4_096)(book.named)

    def match(self, reading: Reading, named: str | None, author: Author | None) -> BrandMatch:
        """Return the brand of a mention that was sent with the brand `named`, or without (None).

        An account of a brand that names no brand speaks for its own.
        """
        found = self._found(reading.exact)
        if named is not None:
            brand = self._named(named)
            return BrandMatch(brand, tuple(name for name in found if name != brand), self._is(brand, author))
        if not found:
            brand = next((name for name in self._names if self._is(name, author)), "")
            return BrandMatch(brand or None, (), bool(brand))
        return BrandMatch(found[0], tuple(found[1:]), self._is(found[0], author))

    def _is(self, brand: str, author: Author | None) -> bool:
        """Whether `author` is the brand itself."""
        if author is None:
            return False
        accounts = self._accounts.get(brand) or frozenset({_account(brand)})
        return any(name and _account(name) in accounts for name in (author.handle, author.name))

    def _found(self, line: str) -> list[str]:
        """Return the brands in `line`: with most distinct terms first, then earliest, then as configured."""
        terms: dict[int, set[str]] = {}
        first: dict[int, int] = {}
        excluded: set[int] = set()
        for pattern, start, _ in self._automaton.find_matches_as_indexes(line, True):
            for owner, text, excludes in self._terms[pattern]:
                if excludes:
                    excluded.add(owner)
                else:
                    terms.setdefault(owner, set()).add(text)
                    first[owner] = min(start, first.get(owner, start))
        owners = sorted(terms.keys() - excluded, key=lambda owner: (-len(terms[owner]), first[owner], owner))
        return [self._names[owner] for owner in owners]


def _patterns(brand: Brand) -> list[tuple[str, str, bool]]:
    """Return (substring of a line, the term that it stands for, whether it excludes) for each term."""
    patterns = []
    for written in (*brand.names, *brand.terms.words, *brand.terms.phrases):
        patterns += [(pattern, fold(written), False) for pattern in _spellings(brand, written)]
    for marked, written in [("@", h) for h in brand.handles] + [("#", h) for h in brand.terms.hashtags]:
        tag = marked + written.lstrip("@#")
        patterns += [(pattern, fold(tag), False) for pattern in _spellings(brand, tag)]
    for written in brand.terms.exclude:
        patterns += [(pattern, fold(written), True) for pattern in _spellings(brand, written)]
    return patterns


def _spellings(brand: Brand, written: str) -> set[str]:
    """Return the substrings of a line by which `written` is found: as it stands, unmarked, as one hashtag."""
    tokens = reader().read(written).exact.split()
    while tokens and tokens[0] in _MARKS:
        tokens.pop(0)
    while tokens and tokens[-1] in _MARKS:
        tokens.pop()
    if not tokens:
        raise ConfigError(f"klankbord.toml: the term {written!r} of {brand.name} has no letter or digit.")
    words = [token for token in tokens if token not in _MARKS]
    spellings = {exact_line_of(tokens), exact_line_of(words)}
    if tokens[0][0] not in "@#" and any(token.isalpha() for token in words):
        spellings.add(exact_line_of(["#" + "".join(token for token in words if token.isalnum())]))
    return spellings


def _account(name: str) -> str:
    return fold(name).strip().lstrip("@")


def _accounts(brand: Brand) -> frozenset[str]:
    return frozenset(_account(name) for name in (*brand.names, *brand.handles))
