"""What a text is about: keyword tags from lexicons/*/topics.txt and klankbord.toml."""

from collections import Counter
from collections.abc import Sequence

from services.enrich.cues import Cues
from services.enrich.reader import reader
from services.enrich.terms import Matcher, spelt_out
from shared.brands import BrandBook
from shared.errors import ConfigError

MAX_TOPICS = 8


class OwnTopics:
    """The topics in klankbord.toml, ready to be found.

    Raises ConfigError on a term that is none, and on an example in which its topic is not found.
    """

    def __init__(self, book: BrandBook) -> None:
        terms = [
            (written, topic.name) for topic in book.topics for term in topic.terms for written in _spelt(term)
        ]
        self._matcher = Matcher(terms) if terms else None
        for topic in book.topics:
            for example in topic.examples:
                if topic.name not in self.find(reader().read(example).line):
                    where = f"klankbord.toml: topic {topic.name!r}"
                    raise ConfigError(f"{where}: none of its terms is in its example {example!r}.")

    def find(self, line: str) -> list[str]:
        """Return the topics in a line (`Reading.line`), one for each term that is there."""
        return [topic for topic, _, _ in self._matcher.find(line)] if self._matcher else []


def _spelt(term: str) -> list[str]:
    return spelt_out(term, "klankbord.toml, [[topics]]")


def topics_of(cues: Cues, own: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the topics of a text, the one with the most terms first, ties by name; at most MAX_TOPICS.

    `own` are those of klankbord.toml that were found.
    """
    counts = Counter((*cues.topics, *own))
    return tuple(sorted(counts, key=lambda slug: (-counts[slug], slug))[:MAX_TOPICS])
