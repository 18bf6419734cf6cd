"""klankbord.toml is read as written, and a mistake in it is named."""

from pathlib import Path

import pytest

from shared.brands import BrandBook, load_brands, parse_brands
from shared.errors import ConfigError

TOML = """
[[brands]]
name = "Zonneveld Zorg"
aliases = ["ZVZ"]
handles = ["@zonneveldzorg"]
[brands.terms]
words = ["zonneveldzorg"]
phrases = ["werken bij zonneveld"]
hashtags = ["#werkenbijzonneveld"]
exclude = ["camping zonneveld"]
[[brands.feeds]]
url = "https://www.example.org/feed.xml"
[[brands.feeds]]
url = "https://example.com/news"
source = "news"
match_terms = true

[[feeds]]
url = "https://example.net/all.atom"
interval_seconds = 60
"""


def test_all_parts_are_read() -> None:
    book = parse_brands(TOML)
    (brand,) = book.brands
    assert brand.names == ("Zonneveld Zorg", "ZVZ")
    assert brand.terms.exclude == ("camping zonneveld",)
    assert [(name, feed.source_name) for name, feed in book.all_feeds()] == [
        ("Zonneveld Zorg", "example.org"),
        (None, "news"),
        (None, "example.net"),
    ]


def test_a_brand_is_found_by_any_of_its_names() -> None:
    book = parse_brands(TOML)
    assert book.named("zvz") == book.named("ZONNEVELD ZORG") == "Zonneveld Zorg"
    assert book.named("Somebody Else") == "Somebody Else"


def test_no_file_means_no_brands(tmp_path: Path) -> None:
    assert load_brands(tmp_path / "klankbord.toml") == BrandBook()


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[[brands]]\nname = 5", "brands.0.name"),
        ("[[brands]]\nname = ''", "brands.0.name"),
        ("[[brands]]\nnaam = 'x'\nname = 'x'", "naam"),
        ("[[brands]]\nname = 'x'\n[[brands]]\nname = 'X'", "stands for both"),
        ("[[brands]]\nname = 'x'\n[[brands.feeds]]\nurl = 'ftp://x'", "brands.0.feeds.0.url"),
        ("[[feeds]]\nurl = 'https://me:secret@example.org/'", "password"),
        ("[[feeds]]\nurl = 'https://example.org/'\ninterval_seconds = 1", "interval_seconds"),
        ("not toml", "TOML"),
    ],
)
def test_a_mistake_is_named(toml: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        parse_brands(toml, "my.toml")
    assert "my.toml" in str(caught.value)
    assert "secret" not in str(caught.value)
