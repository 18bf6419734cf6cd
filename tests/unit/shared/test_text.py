"""Text comes out clean, whatever comes in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text import clean_line, clean_text


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("<p>Hoi</p><p>daar</p>", "Hoi\n\ndaar"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("R&amp;D &euro;5 &#8364;6", "R&D €5 €6"),
        ("I <3 this & that; a < b > c", "I <3 this & that; a < b > c"),
        ("<script>alert(1)</script>x<style>p{}</style>", "x"),
        ("a\0b\x07c\x9fd", "abcd"),
        ("a \ud83d b", "a \ufffd b"),
        ("cafe\u0301", "café"),
        ("cafe\0\u0301", "café"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("  a \t\u00a0 b  ", "a b"),
        ("a\n\n\n \n b", "a\n\nb"),
        ("&lt;b&gt;", "<b>"),
        ("<b>bold</b> <i>move</i>", "bold move"),
        ("<img src=x onerror=alert(1)>", ""),
    ],
)
def test_examples(dirty: str, clean: str) -> None:
    assert clean_text(dirty) == clean


def test_a_line_stays_one_line() -> None:
    assert clean_line(" a\nb\r\n c\0 ") == "a b c"


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300))
def test_any_text_comes_out_valid(dirty: str) -> None:
    for clean in (clean_text(dirty), clean_line(dirty)):
        clean.encode()
        assert clean == clean.strip()
        assert unicodedata.is_normalized("NFC", clean)
        assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in clean)


@given(st.text(alphabet="<>&;abp/ !-\"'=", max_size=400))
def test_broken_markup_is_taken(dirty: str) -> None:
    assert isinstance(clean_text(dirty), str)
