"""The word lists, loaded and compiled once per process."""

from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from services.enrich.reading import fold
from services.enrich.terms import Entry, Matcher, literal_words, read_list
from shared.errors import ConfigError
from shared.events import Language, Stage

FOLDER = Path(__file__).parent / "lexicons"
ANY = "any"
"""The folder of what means the same in every language."""
LANGUAGES = (Language.DUTCH.value, Language.ENGLISH.value)

_MODIFIERS = ("negator", "booster", "diminisher", "contrast", "concession", "break")
_MARKS = {"stop": ".", "comma": ","}


class Tone(NamedTuple):
    """What a term does to the sentiment of a text."""

    role: str
    """value, one of the modifiers, or one of the marks stop, comma."""
    weight: float
    feeling: bool
    """Tells how the writer feels, without blaming anybody."""


class Signal(StrEnum):
    """What a term of signals.txt is a sign of."""

    FAIL = "fail"
    HINT = "hint"
    NO_FAIL = "no-fail"
    SARCASM = "sarcasm"
    OWN_VACANCY = "own-vacancy"
    NEWS = "news"
    PERSONAL = "personal"
    QUESTION = "question"
    RHETORICAL = "rhetorical"


class StageCue(NamedTuple):
    """A stage, and how much one term says for it."""

    stage: Stage
    weight: int


class TopicCue(NamedTuple):
    """A topic that a term belongs to."""

    slug: str


Cue = Signal | StageCue | TopicCue


class Lexicon(NamedTuple):
    """The compiled word lists of one language."""

    tones: Matcher[Tone]
    cues: Matcher[Cue]


@lru_cache(maxsize=1)
def lexicons() -> dict[Language, Lexicon]:
    """Return the lexicon of each language; "other" and "und" have tones of any language, all cues.

    Raises ConfigError when a list is malformed.
    """
    unknown = Lexicon(_tones(ANY), _cues("nl", "en"))
    return {
        Language.DUTCH: Lexicon(_tones(ANY, "nl"), _cues("nl")),
        Language.ENGLISH: Lexicon(_tones(ANY, "en"), _cues("en")),
        Language.OTHER: unknown,
        Language.UNDETERMINED: unknown,
    }


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Return the known words, folded."""
    paths = [FOLDER / folder / "sentiment.txt" for folder in (ANY, *LANGUAGES)]
    paths += [FOLDER / folder / "words.txt" for folder in LANGUAGES]
    return frozenset(word for path in paths for word in literal_words(read_list(path)))


@lru_cache(maxsize=1)
def function_words() -> dict[str, frozenset[str]]:
    """Return the function words by language (ISO 639-1)."""
    words = {
        language: _section("function", read_list(FOLDER / language / "words.txt")) for language in LANGUAGES
    }
    entries = read_list(FOLDER / "other" / "words.txt")
    return words | {name: _section(name, entries) for name in sorted({entry.section for entry in entries})}


@lru_cache(maxsize=1)
def _classes() -> tuple[dict[str, tuple[str, ...]], tuple[tuple[str, str], ...]]:
    """Return the classes of each word, the more telling first, and (begin of a word, class) for open ones."""
    words: dict[str, dict[str, None]] = {}
    begins: dict[tuple[str, str], None] = {}
    for language in LANGUAGES:
        for section, term in read_list(FOLDER / language / "classes.txt"):
            if term.endswith("*"):
                begins[fold(term[:-1]), section] = None
            else:
                words.setdefault(fold(term), {})[section] = None
    return {word: tuple(classes) for word, classes in words.items()}, tuple(begins)


def word_classes(word: str) -> tuple[str, ...]:
    """Return the classes of a folded word (classes.txt), its first one first; none when it has none."""
    words, begins = _classes()
    if found := words.get(word):
        return found
    return tuple(dict.fromkeys(name for begin, name in begins if word.startswith(begin)))


def split_hashtag_words() -> frozenset[str]:
    """Return the words that hashtags are split into; one-letter words would split anything."""
    return frozenset(word for word in vocabulary() if len(word) > 1)


def _section(name: str, entries: tuple[Entry, ...]) -> frozenset[str]:
    return frozenset(literal_words([entry for entry in entries if entry.section == name]))


def _tones(*folders: str) -> Matcher[Tone]:
    terms: dict[str, Tone] = {}
    modifiers: list[tuple[str, Tone]] = [(mark, Tone(role, 0, False)) for role, mark in _MARKS.items()]
    for folder in folders:
        path = FOLDER / folder / "sentiment.txt"
        for section, term in read_list(path):
            # The list of the language is later, and knows better than that of any language.
            terms[term] = _tone(section, path)
        if (path := FOLDER / folder / "modifiers.txt").exists():
            modifiers += [
                (term, Tone(_modifier(section, path), 0, False)) for section, term in read_list(path)
            ]
    return Matcher([*modifiers, *terms.items()], longest=True)


def _tone(section: str, path: Path) -> Tone:
    feeling, weight = section.startswith("feeling"), section.removeprefix("feeling").strip()
    try:
        return Tone("value", float(weight), feeling)
    except ValueError:
        raise ConfigError(f"{path}: [{section}] must be a weight such as [+2] or [feeling -1].") from None


def _modifier(section: str, path: Path) -> str:
    if section not in _MODIFIERS:
        raise ConfigError(f"{path}: [{section}] must be one of {', '.join(_MODIFIERS)}.")
    return section


def _cues(*folders: str) -> Matcher[Cue]:
    terms: dict[tuple[str, Cue], None] = {}
    for folder in folders:
        for section, term in read_list(FOLDER / folder / "signals.txt"):
            terms[term, Signal(section)] = None
        for section, term in read_list(FOLDER / folder / "stages.txt"):
            stage, weight = section.split()
            terms[term, StageCue(Stage(stage), int(weight))] = None
        for section, term in read_list(FOLDER / folder / "topics.txt"):
            terms[term, TopicCue(section)] = None
    return Matcher(list(terms))
