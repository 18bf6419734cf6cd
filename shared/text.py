"""Clean text out of whatever a source delivers. Pure; used once, where a mention comes in."""

import html
import re
import unicodedata

import nh3

# Block elements end a line for the reader; without this "<p>one</p><p>two</p>" would read "onetwo".
_BLOCK_TAG = re.compile(
    r"<(?=/?(?:p|div|br|li|ul|ol|tr|table|h[1-6]|blockquote|section|article|hr|pre)\b)", re.I
)
_TAG_OR_ENTITY = re.compile(r"<[a-zA-Z/!?]|&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
# C0 and C1 controls but for tab and newline, and the two Unicode non-characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_BLANKS = re.compile(r"[ \t\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_BLANK_LINES = re.compile(r" ?\n[ \n]*\n ?")


def clean_line(value: str) -> str:
    """Return `value` as one line of NFC text without control characters or blanks at its ends."""
    return _BLANKS.sub(" ", _repair(value).replace("\n", " ")).strip()


def clean_text(value: str) -> str:
    """Return `value` as plain text: HTML stripped, entities decoded, NFC, no control characters.

    Block elements become line breaks; script and style go with their content; NULs and other controls
    are removed, lone surrogates become U+FFFD; runs of blanks become one, of blank lines one.
    """
    if _TAG_OR_ENTITY.search(value):
        value = _strip_html(value)
    value = _BLANKS.sub(" ", _repair(value))
    return _BLANK_LINES.sub("\n\n", value).strip()


def replace_lone_surrogates(value: str) -> str:
    """Return `value` with each lone surrogate, which UTF-8 cannot carry, as U+FFFD."""
    return value if value.isascii() else _LONE_SURROGATE.sub("\ufffd", value)


def _strip_html(value: str) -> str:
    separated = _BLOCK_TAG.sub("\n<", replace_lone_surrogates(value))
    # nh3 gives escaped text back, so that it can stand in HTML; ours is plain text.
    return html.unescape(nh3.clean(separated, tags=set()))


def _repair(value: str) -> str:
    value = _CONTROL.sub("", value.replace("\r\n", "\n").replace("\r", "\n"))
    # Last, as a control character may have stood between a letter and its accent.
    return value if value.isascii() else unicodedata.normalize("NFC", replace_lone_surrogates(value))
