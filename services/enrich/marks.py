"""What is so of a text as a whole, as names that the learned model has weights for.

Amounts are marks that add up: a text with three questions has "?>=1" and "?>=2". What the word lists find
counts here too, so that the model begins where they end.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from services.enrich.cues import Cues
from services.enrich.lexicon import Signal
from services.enrich.reading import Reading
from services.enrich.sentiment import Sentiment
from shared.events import Kind, Language, Stage

_MOST = 3
_STRONG = 3


class _Scale:
    """Marks of an amount: one for each bound that it reaches."""

    def __init__(self, name: str, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._reached = [[f"{name}>={bound}" for bound in bounds[:count]] for count in range(len(bounds) + 1)]

    def marks(self, value: float) -> list[str]:
        return self._reached[bisect_right(self._bounds, value)]


_FEELING = _Scale("feels", (-0.75, -0.5, -0.3, -0.12, 0.12, 0.3, 0.5, 0.75))
_LENGTH = _Scale("length", (4, 8, 15, 30, 60, 120))
_RATING = _Scale("rating", (-0.6, -0.1, 0.1, 0.6))
_QUESTIONS, _EXCLAMATIONS = (_Scale(mark, range(1, _MOST + 1)) for mark in "?!")
_SIGNALS = {signal: _Scale(signal.value, range(1, _MOST + 1)) for signal in Signal}
_JOINT = {
    said: [
        "asks={:d} fails={:d} blames={:d}".format(*said),
        *(name for name, holds in zip(("asks", "fails", "blames"), said, strict=True) if holds),
    ]
    for said in product((False, True), repeat=3)
}
"""By whether a text asks, is a #fail and blames."""
_ENDS_ASKING = (" ?  . ", " ?  .  . ")


class Seen(NamedTuple):
    """What the lists made of a text."""

    reading: Reading
    cues: Cues
    feeling: Sentiment
    """By words alone, without a rating."""
    is_fail: bool
    is_question: bool
    stage: Stage


def marks_of(seen: Seen, language: Language, kind: Kind, rating: float | None) -> list[str]:
    """Return the marks of a text; `rating` is -1 ... 1, or None."""
    line, cues, reading = seen.reading.line, seen.cues, seen.reading
    marks = ["all", _LANGUAGES[language], _KINDS[kind], _STAGES[seen.stage]]
    for signal, spans in cues.signals.items():
        marks += _SIGNALS[signal].marks(len(spans))
    marks += _QUESTIONS.marks(line.count(" ? "))
    marks += _EXCLAMATIONS.marks(line.count(" ! "))
    marks += _FEELING.marks(seen.feeling.score)
    marks += _LENGTH.marks(line.count("  "))
    if cues.stages:
        marks += _stage_marks(cues)
    if cues.topics:
        marks += [_topic_mark(topic) for topic in set(cues.topics)]
    if rating is not None:
        marks.append("rated")
        marks += _RATING.marks(rating)
    marks += _JOINT[seen.is_question, seen.is_fail, bool(seen.feeling.blame)]
    if reading.elongated:
        marks.append("stretched")
    if reading.shouted:
        marks.append("shouts")
    if reading.hashtags:
        marks.append("tagged")
    if line.endswith(_ENDS_ASKING):
        marks.append("ends asking")
    if " 0 " in line:
        marks.append("numbers")
    if cues.of(Signal.PERSONAL):
        marks.append("personal")
    if " @" in line:
        marks.append("to somebody")
    return marks


_LANGUAGES = {language: f"lang={language}" for language in Language}
_KINDS = {kind: f"kind={kind}" for kind in Kind}
_STAGES = {stage: f"stage={stage}" for stage in Stage}
_SIGN_OF = {stage: f"sign of {stage}" for stage in Stage}
_STRONG_SIGN_OF = {stage: f"strong sign of {stage}" for stage in Stage}


@lru_cache(maxsize=1_024)
def _topic_mark(topic: str) -> str:
    return f"topic={topic}"


def _stage_marks(cues: Cues) -> list[str]:
    totals: dict[Stage, int] = {}
    for (stage, weight), _, _ in cues.stages:
        totals[stage] = totals.get(stage, 0) + weight
    marks = [_SIGN_OF[stage] for stage in totals]
    return marks + [_STRONG_SIGN_OF[stage] for stage, total in totals.items() if total >= _STRONG]
