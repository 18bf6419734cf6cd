"""How a text feels by the word lists, -1 ... 1: weighed words, what negates and strengthens them, sarcasm.

It is a mark among others: the learned model says what a mention is called (services/enrich/judgement.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.enrich.cues import Cues
from services.enrich.lexicon import Signal, Tone
from services.enrich.reading import Reading
from services.enrich.terms import Hit, Matcher

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
_EYE_ROLLS = frozenset({"\U0001f644", "\U0001f643", "\U0001f612"})


class Sentiment(NamedTuple):
    """The sentiment of a text, and what it blames."""

    score: float
    blame: list[tuple[int, int]]
    """Where in the line what it blames stands: negative terms and negated praise, no mere feelings."""


class _Weighed(NamedTuple):
    """The terms of a line that weigh, in order, and how much each does."""

    hits: list[Hit[Tone]]
    weights: list[float]


def sentiment_of(reading: Reading, tones: Matcher[Tone], cues: Cues, *, asks: bool = False) -> Sentiment:
    """Return the sentiment of a text, given its cues and whether it asks something."""
    hits, weights = _weigh(reading, tones.find(reading.line))
    if asks:
        # "Graag hoor ik, bij voorbaat dank": who asks is polite.
        weights = [weight * _POLITE if weight > 0 else weight for weight in weights]
    total = _with_signs(reading, weights, cues)
    score = max(-1.0, min(1.0, round(total / math.sqrt(total * total + _SPREAD), 4)))
    blame = [
        (start, end)
        for (tone, start, end), weight in zip(hits, weights, strict=True)
        if weight < 0 and not tone.feeling
    ]
    return Sentiment(score, blame)


def _weigh(reading: Reading, hits: Sequence[Hit[Tone]]) -> _Weighed:
    line, shouted = reading.line, reading.shouted
    weighed = _Weighed([], [])
    if not [hit for hit in hits if hit[0].weight]:
        return weighed
    clause = _Clause()
    for position, hit in enumerate(hits):
        (role, weight, _), start, end = hit
        if role != "value":
            _modify(clause, hit, line, weighed)
        elif weight and not _only_strengthens(hits, position):
            weight *= clause.factor
            if clause.boosted_at >= 0 and line.count("  ", clause.boosted_at, start) <= 1:
                weight *= clause.boost
            if clause.negated_at >= 0 and line.count("  ", clause.negated_at, start) <= _NEGATION_REACH:
                weight *= _NEGATED_PRAISE if weight > 0 else _NEGATED_BLAME
            if shouted and line[start:end].strip() in shouted:
                weight *= _SHOUT
            weighed.hits.append(hit)
            weighed.weights.append(weight)
    return weighed


@dataclass(slots=True)
class _Clause:
    """What weighs on the words to come."""

    negated_at: int = -1
    boosted_at: int = -1
    boost: float = 1.0
    contrast: float = 1.0
    factor: float = 1.0
    """That of contrast and concession together."""
    since: int = 0
    """How many weighed values stand before the last contrast: the next one leaves them as they are."""

    def ends(self, contrast: float, conceded: float = 1.0) -> None:
        """Let nothing before weigh on what comes."""
        self.negated_at = self.boosted_at = -1
        self.contrast, self.factor = contrast, contrast * conceded


def _modify(clause: _Clause, hit: Hit[Tone], line: str, weighed: _Weighed) -> None:
    """Let a modifier or mark weigh on the words after it; negation and contrast also reach back."""
    (role, _, _), _, end = hit
    if role == "stop":
        clause.ends(1.0)
    elif role == "negator":
        _negate_before(hit, line, weighed, clause)
        clause.negated_at = end - 1
    elif role in _BOOSTS:
        clause.boosted_at, clause.boost = end - 1, _BOOSTS[role]
    elif role == "contrast":
        for index in range(clause.since, len(weighed.weights)):
            weighed.weights[index] *= _BEFORE_CONTRAST
        clause.ends(_AFTER_CONTRAST)
        clause.since = len(weighed.weights)
    else:
        clause.ends(clause.contrast, _CONCEDED if role == "concession" else 1.0)


_NEGATES_BEFORE = frozenset({"niet", "nooit"})


def _negate_before(hit: Hit[Tone], line: str, weighed: _Weighed, clause: _Clause) -> None:
    """Negate the praise just before, as Dutch does: "dat bevalt me niet"."""
    _, start, end = hit
    if not weighed.hits or line[start:end].strip() not in _NEGATES_BEFORE:
        return
    _, last_start, last_end = weighed.hits[-1]
    between = line[last_end - 1 : start + 1]
    near = between.count("  ") <= _NEGATION_REACH and not _CLAUSE_ENDS & set(between.split())
    if near and weighed.weights[-1] > 0 and clause.negated_at < last_start:
        weighed.weights[-1] *= _NEGATED_PRAISE


_CLAUSE_ENDS = frozenset(
    {".", ",", "en", "of", "dat", "als", "want", "omdat", "om", "maar", "die", "waar", "zodat"}
)


def _only_strengthens(hits: Sequence[Hit[Tone]], position: int) -> bool:
    """Whether the value here only strengthens the next one: "verschrikkelijk leuk", "super fijn"."""
    _, start, end = hits[position]
    if not position or hits[position - 1][1] != start:
        return False
    here = hits[max(0, position - 2) : position]
    if not any(other.role == "booster" and begin == start for other, begin, _ in here):
        return False
    for following, begin, _ in hits[position + 1 : position + 2]:
        return begin == end and following.weight != 0
    return False


def _with_signs(reading: Reading, weights: Sequence[float], cues: Cues) -> float:
    """Return the sum of weights with what the text says as a whole: unmet expectations, sarcasm, stress."""
    if not weights and not cues.signals:
        return 0.0
    total = sum(weights)
    total += _FAIL_CUE * min(len(cues.of(Signal.FAIL)), _MAX_FAIL_CUES)
    total += _NO_FAIL_CUE * bool(cues.of(Signal.NO_FAIL))
    praise = sum(weight for weight in weights if weight > 0)
    if cues.of(Signal.SARCASM) or (praise > 0 and not _EYE_ROLLS.isdisjoint(reading.tokens)):
        total += (_FLIPPED_PRAISE - 1) * praise + _SARCASM
    if reading.elongated:
        total *= _STRETCH
    stress = _EXCLAMATION * min(reading.line.count(" ! "), _MAX_EXCLAMATIONS)
    return total + math.copysign(stress, total) if total else 0.0
