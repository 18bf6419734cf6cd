"""Which brand a mention is about."""

import pytest

from services.enrich.steps import Enricher
from shared.brands import BrandBook, parse_brands
from shared.errors import ConfigError

from .labelling import BOOK, enricher, label, raw


@pytest.mark.parametrize(
    "text",
    [
        "ZONNEVELD ZORG is top",
        "zonneveld's beleid",
        "hoi @ZonneveldZorg!",
        "@zonneveldzorg@mastodon.example hoi",
        "#WerkenBijZonneveld",
        "#zonneveld",
        "Werken bij  Zonneveld?",
        "bij (ZVZ)",
    ],
)
def test_a_brand_is_found_by_its_terms(text: str) -> None:
    assert label(text).brand == "Zonneveld Zorg"


@pytest.mark.parametrize(
    "text",
    [
        "zonnevelden in bloei",
        "Op camping Zonneveld was het druk",
        "https://example.org/zonneveld",
        "@zonneveldje",
        "info@zonneveld.example",
        "niets",
    ],
)
def test_what_only_looks_like_a_brand_is_not_one(text: str) -> None:
    assert label(text).brand == ""
    assert enricher().enrich(raw(text)) is None


def test_accents_make_no_difference() -> None:
    assert label("cafe noir").brand == label("CAFÉ NOIR").brand == "Café Noir"


def test_a_named_brand_wins_and_an_alias_is_resolved() -> None:
    mention = label("Café Noir heeft betere koffie", brand="zvz")
    assert (mention.brand, mention.other_brands) == ("Zonneveld Zorg", ("Café Noir",))


def test_a_named_brand_that_is_not_configured_stays() -> None:
    assert label("hallo", brand="Elders").brand == "Elders"


def test_most_distinct_terms_win_then_the_earliest() -> None:
    more_terms = label("Zonneveld: Café Noir, de noirbar")
    assert (more_terms.brand, more_terms.other_brands) == ("Café Noir", ("Zonneveld Zorg",))
    earlier = label("Zonneveld en Café Noir, Zonneveld, Zonneveld")
    assert (earlier.brand, earlier.other_brands) == ("Zonneveld Zorg", ("Café Noir",))
    assert label("Café Noir en Zonneveld").brand == "Café Noir"


def test_an_account_of_the_brand_speaks_for_it_and_never_complains() -> None:
    mention = label("Vervelend dat je moest wachten! Heb je nog vragen?", author="@zonneveldzorg")
    assert mention.brand == "Zonneveld Zorg"
    assert (mention.sentiment_label, mention.is_fail, mention.is_question) == ("neutral", False, False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Booking.com", "bij booking.com dus"),
        ("Dr. Oetker", "dr oetker"),
        ("Dr. Oetker", "Dr. Oetker"),
        ("H&M", "bij h&m"),
    ],
)
def test_names_with_marks_are_found(name: str, text: str) -> None:
    assert Enricher(parse_brands(f'[[brands]]\nname = "{name}"')).label(raw(text)).brand == name


def test_numbers_in_names_are_told_apart() -> None:
    studio = Enricher(parse_brands('[[brands]]\nname = "Studio 100"'))
    assert studio.label(raw("studio 100")).brand == "Studio 100"
    assert studio.label(raw("studio 50")).brand == ""


def test_a_term_that_nothing_can_match_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the term '\?!' of Acme has no letter or digit"):
        Enricher(parse_brands('[[brands]]\nname = "Acme"\naliases = ["?!"]'))


def test_without_brands_only_named_mentions_are_enriched() -> None:
    empty = Enricher(BrandBook())
    assert empty.enrich(raw("hallo")) is None
    batch = empty.enrich_batch([raw("hallo"), raw("hallo", brand="X")])
    assert [mention and mention.brand for mention in batch] == [None, "X"]


def test_the_book_of_these_tests_is_read_as_written() -> None:
    assert [brand.name for brand in parse_brands(BOOK).brands] == ["Zonneveld Zorg", "Café Noir"]
