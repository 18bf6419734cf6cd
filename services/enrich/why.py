"""Why a text got its labels: the words, pairs and marks that weighed most, for `klankbord enrich --why`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from services.enrich.features import clipped, pairs_named
from services.enrich.judgement import AUTHOR, FAIL, QUESTION, SENTIMENT, STAGE
from services.enrich.model import Head, Model

MOST = 5
_SAY_NOTHING = ("all", "length", "lang=", "kind=")
"""Marks that every text has in some form: what they weigh is where the scale begins, no reason."""
_EXPLAINED = (SENTIMENT, FAIL, QUESTION, STAGE, AUTHOR)


class Reason(NamedTuple):
    """One thing that spoke for an answer, and how much (log-odds against the mean of the other answers)."""

    what: str
    weight: float


def why(model: Model, tokens: Sequence[str], marks: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return, by head, the answer that the model gives to a text and the reasons that weighed most.

    {"fail": {"answer": "yes", "because": [["niks gehoord", 0.82], …]}}. Words are quoted as they were read;
    what begins with "lists:" is what the word lists make of the text as a whole.
    """
    answers: dict[str, dict[str, object]] = {}
    words = model.words_of([tokens])
    scores = model.score(words, [marks])[0]
    for name in _EXPLAINED:
        head = model.weights.head(name)
        best = int(scores[head.columns].argmax())
        reasons = _reasons(model, tokens, marks, head, best)
        answers[name] = {"answer": head.answers[best], "because": [[r.what, r.weight] for r in reasons]}
    return answers


def _reasons(
    model: Model, tokens: Sequence[str], marks: Sequence[str], head: Head, best: int
) -> list[Reason]:
    tokens = clipped(tokens)
    worth: defaultdict[str, float] = defaultdict(float)
    share = 1 / max(len(tokens), 1) ** 0.5
    for token in filter(str.isalnum, tokens):
        worth[token] += model.worth_of_word(token, head, best) * share
    for named, feature in pairs_named(tokens):
        worth[named] += model.worth_of_feature(feature, head, best) * share
    for mark in marks:
        if not mark.startswith(_SAY_NOTHING):
            worth[f"lists: {mark}"] += model.worth_of_mark(mark, head, best)
    most = sorted(worth.items(), key=lambda item: (-item[1], item[0]))[:MOST]
    return [Reason(what, round(weight, 3)) for what, weight in most if weight > 0]
