"""Splits hashtags into the words they are made of: "nooitmeersolliciteren" -> nooit, meer, solliciteren."""

from functools import lru_cache

from services.enrich.lexicon import split_hashtag_words

MAX_LENGTH = 60
_SHORT_WORD = 0.6
"""What a word of two letters costs more than a longer one: they fit nearly anywhere."""


@lru_cache(maxsize=8_192)
def split_hashtag(tag: str) -> tuple[str, ...]:
    """Return the words of `tag` (folded, without the #); nothing when not all of it is known words.

    The fewest words win.
    """
    if len(tag) > MAX_LENGTH:
        return ()
    known, longest = _words()
    best: list[tuple[float, tuple[str, ...]] | None] = [(0.0, ()), *([None] * len(tag))]
    for end in range(1, len(tag) + 1):
        candidates = []
        for start in range(max(0, end - longest), end):
            before, word = best[start], tag[start:end]
            if before is not None and word in known:
                cost = before[0] + 1 + (_SHORT_WORD if len(word) == 2 else 0)
                candidates.append((cost, (*before[1], word)))
        best[end] = min(candidates, default=None)
    return best[-1][1] if best[-1] is not None else ()


@lru_cache(maxsize=1)
def _words() -> tuple[frozenset[str], int]:
    known = split_hashtag_words()
    return known, max(map(len, known))
