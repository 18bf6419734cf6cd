"""How a text feels, from -1 to 1: weighed words, what negates and strengthens them, ratings, sarcasm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.enrich.cues import Cues
from services.enrich.lexicon import Signal, Tone
from services.enrich.reading import Reading
from services.enrich.terms import Hit, Matcher
from shared.events import SentimentLabel

_NEGATION_REACH = 4
"""Words between a negation and what it negates."""
_NEGATED_PRAISE, _NEGATED_BLAME = -0.8, -0.5
_BOOSTS = {"booster": 1.3, "diminisher": 0.7}
_SHOUT = 1.25
_BEFORE_CONTRAST, _AFTER_CONTRAST, _CONCEDED = 0.6, 1.2, 0.6
_FAIL_CUE, _MAX_FAIL_CUES, _NO_FAIL_CUE = -1.3, 3, 1.5
_SARCASM, _FLIPPED_PRAISE = -2.0, -0.6
_EXCLAMATION, _MAX_EXCLAMATIONS = 0.25, 3
_STRETCH = 1.15
_SPREAD = 12.0
"""The sum of weights at which the score is 0.71 is about 3.5: its square."""
_POLITE = 0.25
_RATING_SHARE = 0.6
_NEUTRAL_BELOW = 0.15
_NEUTRAL_CONFIDENCE, _MOST_CONFIDENCE = 0.5, 0.95
_EYE_ROLLS = ("\U0001f644", "\U0001f643", "\U0001f612")


class Sentiment(NamedTuple):
    """The sentiment of a text, and what it blames."""

    score: float
    label: SentimentLabel
    confidence: float
    blame: tuple[tuple[int, int], ...]
    """Where in the line what it blames stands: negative terms and negated praise, no mere feelings."""


class _Weighed(NamedTuple):
    hit: Hit[Tone]
    weight: float


class Rating(NamedTuple):
    """Stars or marks, from 0 to `scale`."""

    value: float
    scale: float

    @property
    def score(self) -> float:
        """The rating as -1 ... 1. The worst mark is 1, except where a source also gives 0, or is a thumb."""
        worst = 1.0 if self.value >= 1 and self.scale >= 3 else 0.0
        return 2 * (self.value - worst) / (self.scale - worst) - 1


def sentiment_of(
    reading: Reading, tones: Matcher[Tone], cues: Cues, rating: Rating | None = None, *, asks: bool = False
) -> Sentiment:
    """Return the sentiment of a text, given its cues, its rating and whether it asks something."""
    hits = tones.find(reading.line)
    weighed = _weigh(reading, hits)
    if asks:
        # "Graag hoor ik, bij voorbaat dank": who asks is polite.
        weighed = [w._replace(weight=w.weight * _POLITE) if w.weight > 0 else w for w in weighed]
    total = _with_signs(reading, weighed, cues)
    score = total / math.sqrt(total * total + _SPREAD)
    if rating is not None:
        score = (1 - _RATING_SHARE) * score + _RATING_SHARE * rating.score
    score = max(-1.0, min(1.0, round(score, 4)))
    label = _label(score)
    blame = tuple((w.hit.start, w.hit.end) for w in weighed if w.weight < 0 and not w.hit.value.feeling)
    return Sentiment(score, label, _confidence(score, label, rated=rating is not None), blame)


def _label(score: float) -> SentimentLabel:
    if abs(score) < _NEUTRAL_BELOW:
        return SentimentLabel.NEUTRAL
    return SentimentLabel.POSITIVE if score > 0 else SentimentLabel.NEGATIVE


def _confidence(score: float, label: SentimentLabel, *, rated: bool) -> float:
    """Return how sure the label is, 0 ... 1: shares of right labels as docs/accuracy.md measures them."""
    if label is SentimentLabel.NEUTRAL:
        return _NEUTRAL_CONFIDENCE
    return round(min(_MOST_CONFIDENCE, 0.5 + 0.35 * abs(score) + (0.1 if rated else 0.0)), 4)


def _weigh(reading: Reading, hits: Sequence[Hit[Tone]]) -> list[_Weighed]:
    """Return the weighed values of a line, in order."""
    line, shouted = reading.line, reading.shouted
    weighed: list[_Weighed] = []
    clause = _Clause()
    for position, hit in enumerate(hits):
        tone = hit.value
        if tone.role != "value":
            _modify(clause, hit, line, weighed)
            continue
        if tone.weight == 0 or _only_strengthens(hits, position):
            continue
        weight = tone.weight * clause.factor(line, hit.start)
        if clause.negates(line, hit.start):
            weight *= _NEGATED_PRAISE if weight > 0 else _NEGATED_BLAME
        if shouted and line[hit.start : hit.end].strip() in shouted:
            weight *= _SHOUT
        weighed.append(_Weighed(hit, weight))
    return weighed


@dataclass(slots=True)
class _Clause:
    """What weighs on the words to come."""

    negated_at: int = -1
    boosted_at: int = -1
    boost: float = 1.0
    contrast: float = 1.0
    conceded: float = 1.0
    since: int = 0
    """How many weighed values stand before the last contrast: the next one leaves them as they are."""

    def negates(self, line: str, start: int) -> bool:
        return self.negated_at >= 0 and line.count("  ", self.negated_at, start) <= _NEGATION_REACH

    def factor(self, line: str, start: int) -> float:
        boosted = self.boosted_at >= 0 and line.count("  ", self.boosted_at, start) <= 1
        return (self.boost if boosted else 1.0) * self.contrast * self.conceded

    def ends(self, *, contrast: float, conceded: float = 1.0) -> None:
        """Let nothing before weigh on what comes."""
        self.negated_at = self.boosted_at = -1
        self.boost, self.contrast, self.conceded = 1.0, contrast, conceded


def _modify(clause: _Clause, hit: Hit[Tone], line: str, weighed: list[_Weighed]) -> None:
    """Let a modifier or mark weigh on the words after it; negation and contrast also reach back."""
    role = hit.value.role
    if role == "stop":
        clause.ends(contrast=1.0)
    elif role == "negator":
        _negate_before(hit, line, weighed, clause)
        clause.negated_at = hit.end - 1
    elif role in _BOOSTS:
        clause.boosted_at, clause.boost = hit.end - 1, _BOOSTS[role]
    elif role == "contrast":
        for index in range(clause.since, len(weighed)):
            weighed[index] = weighed[index]._replace(weight=weighed[index].weight * _BEFORE_CONTRAST)
        clause.ends(contrast=_AFTER_CONTRAST)
        clause.since = len(weighed)
    else:
        clause.ends(contrast=clause.contrast, conceded=_CONCEDED if role == "concession" else 1.0)


_NEGATES_BEFORE = frozenset({"niet", "nooit"})


def _negate_before(hit: Hit[Tone], line: str, weighed: list[_Weighed], clause: _Clause) -> None:
    """Negate the praise just before, as Dutch does: "dat bevalt me niet"."""
    if not weighed or line[hit.start : hit.end].strip() not in _NEGATES_BEFORE:
        return
    last = weighed[-1]
    between = line[last.hit.end - 1 : hit.start + 1]
    near = between.count("  ") <= _NEGATION_REACH and not _CLAUSE_ENDS & set(between.split())
    if near and last.weight > 0 and clause.negated_at < last.hit.start:
        weighed[-1] = last._replace(weight=last.weight * _NEGATED_PRAISE)


_CLAUSE_ENDS = frozenset(
    {".", ",", "en", "of", "dat", "als", "want", "omdat", "om", "maar", "die", "waar", "zodat"}
)


def _only_strengthens(hits: Sequence[Hit[Tone]], position: int) -> bool:
    """Whether the value here only strengthens the next one: "verschrikkelijk leuk", "super fijn"."""
    hit, before = hits[position], hits[max(0, position - 2) : position]
    if not any(other.start == hit.start and other.value.role == "booster" for other in before):
        return False
    following = hits[position + 1] if position + 1 < len(hits) else None
    return following is not None and following.start == hit.end and following.value.weight != 0


def _with_signs(reading: Reading, weighed: Sequence[_Weighed], cues: Cues) -> float:
    """Return the sum of weights with what the text says as a whole: unmet expectations, sarcasm, stress."""
    total = sum(w.weight for w in weighed)
    total += _FAIL_CUE * min(len(cues.of(Signal.FAIL)), _MAX_FAIL_CUES)
    total += _NO_FAIL_CUE * bool(cues.of(Signal.NO_FAIL))
    praise = sum(w.weight for w in weighed if w.weight > 0)
    if cues.of(Signal.SARCASM) or (praise > 0 and any(emoji in reading.line for emoji in _EYE_ROLLS)):
        total += (_FLIPPED_PRAISE - 1) * praise + _SARCASM
    if reading.elongated:
        total *= _STRETCH
    stress = _EXCLAMATION * min(reading.line.count(" ! "), _MAX_EXCLAMATIONS)
    return total + math.copysign(stress, total) if total else 0.0
