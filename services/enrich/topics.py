"""What a text is about: keyword tags from the closed list in lexicons/*/topics.txt."""

from collections import Counter

from services.enrich.cues import Cues

MAX_TOPICS = 8


def topics_of(cues: Cues) -> tuple[str, ...]:
    """Return the topics of a text, the one with the most terms first, ties by name; at most MAX_TOPICS."""
    counts = Counter(cues.topics)
    return tuple(sorted(counts, key=lambda slug: (-counts[slug], slug))[:MAX_TOPICS])
