"""Which language a text is in: the learned head where it is sure, else that and py3langid and function words.

py3langid (a naive Bayes over byte n-grams) is restricted to the languages that are met or mistaken for Dutch
and English. Its model is read-only once loaded, so threads may share it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from services.enrich.features import Words
from services.enrich.lexicon import function_words
from services.enrich.model import Model
from services.enrich.reading import Reading
from shared.events import Language

EXPECTED = frozenset(
    {"nl", "en", "de", "fr", "fy", "af", "es", "it", "pt", "pl", "tr", "da", "sv", "no", "lb", "id", "ro"}
)
MAX_WORDS = 120
"""Words that are looked at: more do not change the answer."""
# Log-odds: this listens to employers in the Netherlands; a hint and a function word are worth more.
_PRIOR = {"nl": 1.6, "en": 1.3, "de": 0.3, "fr": 0.2}
_HINT = 2.5
_VOTE = 0.9
_UNLIKELY = -30.0
_CLEAR_MARGIN = 3.0
"""The learned head is trusted alone when its best is this far above its next (log-odds)."""
_LEAST_MARGIN = 0.3
"""With less than this between the best two, a language is not called."""
_TRUST = 1.0
"""What n-grams, function words and the hint count beside the learned head."""
_LEAST_PROBABILITY = 1e-6


def languages_of(
    model: Model, words: Words, readings: Sequence[Reading], hints: Sequence[str | None]
) -> list[Language]:
    """Return the language of each text, given its words and the source's hint.

    The learned head decides where it is sure, else n-grams, function words and the hint together. Without a
    word (links, handles, hashtags are none) the hint decides; without that, or with too little to go by, it
    is "und".
    """
    head = model.weights.head("language")
    scores = model.word_scores(words, head)
    ordered = np.sort(scores, axis=1)
    clear = ((ordered[:, -1] - ordered[:, -2]) >= _CLEAR_MARGIN).tolist()
    answers = [Language(answer) for answer in head.answers]
    likeliest = [answers[best] for best in scores.argmax(1).tolist()]
    return [
        likeliest[number]
        if clear[number] and reading.has_words
        else _language(reading, hint, dict(zip(head.answers, scores[number].tolist(), strict=True)))
        for number, (reading, hint) in enumerate(zip(readings, hints, strict=True))
    ]


def _language(reading: Reading, hint: str | None, scores: dict[str, float]) -> Language:
    words = reading.words()[:MAX_WORDS]
    if not words:
        return _label(hint) if hint else Language.UNDETERMINED
    text = " ".join(words)
    if not text.isascii() and _foreign_script(text):
        return Language.OTHER
    ranked = _ranked(text, _votes(words), hint)
    joined = {label: score + _TRUST * ranked[label] for label, score in scores.items()}
    best, second = sorted(joined.values())[-1:-3:-1]
    likeliest = max(joined, key=lambda label: joined[label])
    return Language.UNDETERMINED if best - second < _LEAST_MARGIN else Language(likeliest)


def _votes(words: Sequence[str]) -> dict[str, float]:
    """Return how often function words speak for each language; one of k languages gives 1/k to each."""
    table = _vote_table()
    votes: dict[str, float] = {}
    for word in words:
        for language, weight in table.get(word, ()):
            votes[language] = votes.get(language, 0.0) + weight
    return votes


def _ranked(text: str, votes: dict[str, float], hint: str | None) -> dict[str, float]:
    """Return the log-likelihood of nl, en and the likeliest other by n-grams, votes and priors."""
    scores = {"nl": _UNLIKELY, "en": _UNLIKELY, "other": _UNLIKELY}
    for language, probability in load_language_model().rank(text):
        score = (
            math.log(probability + _LEAST_PROBABILITY)
            + _PRIOR.get(language, 0.0)
            + _VOTE * votes.get(language, 0.0)
            + (_HINT if language == hint else 0.0)
        )
        label = _label(language).value
        scores[label] = max(scores[label], score)
    return scores


def _foreign_script(text: str) -> bool:
    """Whether most letters are not Latin."""
    letters = text.replace(" ", "")
    return sum(1 for char in letters if char < "\u0250") < len(letters) / 2


def _label(language: str | None) -> Language:
    return Language(language) if language in ("nl", "en") else Language.OTHER


@lru_cache(maxsize=1)
def _vote_table() -> dict[str, tuple[tuple[str, float], ...]]:
    """Return word -> (language, weight): a word of k languages gives each of them 1/k."""
    owners: dict[str, list[str]] = {}
    for language, words in function_words().items():
        for word in words:
            owners.setdefault(word, []).append(language)
    return {word: tuple((owner, 1 / len(of)) for owner in of) for word, of in owners.items()}


@lru_cache(maxsize=1)
def load_language_model() -> LanguageIdentifier:
    """Return py3langid's model, loaded once per process (0.6 s, 50 MB)."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(EXPECTED)
    return identifier
