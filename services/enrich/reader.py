"""The reader that knows the word lists: one for the process, as it remembers what it read."""

from functools import lru_cache

from services.enrich.hashtags import split_hashtag
from services.enrich.lexicon import vocabulary
from services.enrich.reading import Reader


@lru_cache(maxsize=1)
def reader() -> Reader:
    """Return the reader that spells and splits by the word lists."""
    return Reader(vocabulary(), split_hashtag)
