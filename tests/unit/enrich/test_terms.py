"""How word lists are read, and how their terms are found."""

from pathlib import Path

import pytest

from services.enrich.lexicon import FOLDER, function_words, lexicons
from services.enrich.reading import line_of, tokens_of
from services.enrich.terms import Matcher, read_list, shown
from shared.errors import ConfigError
from shared.events import Language


def _line(text: str) -> str:
    return line_of([".", *tokens_of(text), "."])


def _found(term: str, text: str) -> list[str]:
    line, tokens = _line(text), [".", *tokens_of(text), "."]
    return [shown(line, tokens, start, end) for _, start, end in Matcher([(term, term)]).find(line)]


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("niks gehoord", "Nog NIKS gehoord!", ["niks gehoord"]),
        ("niks gehoord", "niks, gehoord", []),
        ("top", "stopt", []),
        ("cafe", "Café", ["cafe"]),
        ("teleurstell*", "een teleurstellende dag", ["teleurstellende"]),
        ("*klimaat", "het werkklimaat", ["werkklimaat"]),
        ("al 3 weken", "al vijf weken", ["al vijf weken"]),
        ("al 3 weken", "al 12 weken", ["al 12 weken"]),
        ("^ wanneer", "Hoi, wanneer hoor ik iets", ["wanneer"]),
        ("^ wanneer", "ik weet niet wanneer", []),
        ("toch?", "leuk toch?", ["toch ?"]),
        ("toch?", "het is toch leuk", []),
        ("nog steeds .. gehoord", "nog steeds helemaal niks gehoord", ["nog steeds helemaal niks gehoord"]),
        ("nog steeds .. gehoord", "nog steeds niks. Gehoord dat", []),
        ("a .. b .. c", "a x b y c", ["a x b y c"]),
        ("a .. b", "a 1 2 3 4 5 6 7 8 b", ["a 1 2 3 4 5 6 7 8 b"]),
        ("a .. b", "a 1 2 3 4 5 6 7 8 9 b", []),
        ("don't", "I don’t", ["don t"]),
    ],
)
def test_a_term_is_found_where_it_should_be(term: str, text: str, found: list[str]) -> None:
    assert _found(term, text) == found


def test_the_longest_of_overlapping_terms_is_found() -> None:
    matcher = Matcher([("goed", 2), ("niet slecht", 1), ("slecht", -2)], longest=True)
    assert [value for value, _, _ in matcher.find(_line("niet slecht, goed, slecht"))] == [1, 2, -2]


def test_a_bare_number_would_find_every_number_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="'404' would find every number"):
        Matcher([("404", 1)])


def _write(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "list.txt"
    path.write_text(content, encoding="utf-8")
    return path


def test_endings_and_alternatives_are_written_out(tmp_path: Path) -> None:
    path = _write(tmp_path, "# A comment.\n[+2]\nfijn/e/er, wij|we gaan\n[-1]\nbah\n")
    assert [tuple(entry) for entry in read_list(path)] == [
        ("+2", "fijn"),
        ("+2", "fijne"),
        ("+2", "fijner"),
        ("+2", "wij gaan"),
        ("+2", "we gaan"),
        ("-1", "bah"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[+1]\nfijn\nleuk, fijn\n", r"list.txt, line 3: 'fijn' stands already on line 2\."),
        ("fijn\n", r"line 1: 'fijn' stands before the first \[section\]\."),
        ("[+1]\nniet .. , leuk\n", r"line 2: 'niet \.\.' is not a term"),
        ("# nothing\n", "has no terms"),
    ],
)
def test_a_malformed_list_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_list(_write(tmp_path, content))


def test_every_word_list_loads() -> None:
    paths = sorted(FOLDER.rglob("*.txt"))
    assert len(paths) == 16
    assert all(read_list(path) for path in paths)
    assert set(lexicons()) == set(Language)
    assert {"nl", "en", "de", "fr", "fy", "af"} <= set(function_words())


@pytest.mark.parametrize("language", ["nl", "en"])
def test_the_sentiment_lists_are_of_use_and_weigh_each_term_once(language: str) -> None:
    terms = [entry.term for entry in read_list(FOLDER / language / "sentiment.txt")]
    assert len(terms) >= 900
    assert len(terms) == len(set(terms))


@pytest.mark.parametrize(
    "word", ["klacht", "afgewezen", "helaas", "wachten", "ghosting", "discriminatie", "waardeloos"]
)
def test_recruitment_words_that_other_dutch_lists_lack_weigh(word: str) -> None:
    tones = lexicons()[Language.DUTCH].tones.find(_line(word))
    assert any(tone.weight < 0 for tone, _, _ in tones)
