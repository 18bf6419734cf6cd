"""What an RSS or Atom document says: bytes in, entries out. Pure, and wary: the document is a stranger's.

feedparser reads with expat first and, when that fails, with a loose parser written in Python. Before it sees
a document we see to it that there are no entities to expand, and that neither the loose parser nor
feedparser's regular expressions get more than they can handle in a bounded time.
"""

import calendar
import codecs
import hashlib
import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.parsers import expat

import feedparser
from feedparser.encodings import convert_to_utf8, parse_content_type

from shared.errors import KlankbordError
from shared.events import MAX_TEXT
from shared.text import clean_line, clean_text

MAX_ENTRIES = 1_000
MAX_TAGS = 20
MAX_PROLOG_BYTES = 16_384
MAX_LOOSE_BYTES = 1_048_576
"""The loose parser takes up to 7 s a megabyte; expat is bounded by what is fetched."""

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16le", codecs.BOM_UTF16_BE: "utf-16be"}
_ROOT = re.compile(rb"<\w")
_TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
_URL = re.compile(r"https?://[^\s<>\"]{1,1990}")


class NotAFeed(KlankbordError):
    """The document is not RSS or Atom, or is one that we refuse to read; the message says why."""


@dataclass(frozen=True)
class Entry:
    """One entry, its text already plain; `published_at` None when the feed does not tell (intelligibly)."""

    external_id: str
    text: str
    author: str | None = None
    url: str | None = None
    published_at: datetime | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeedDocument:
    """The entries of a document, in its order, each id once; and the language it says it is in."""

    entries: tuple[Entry, ...] = ()
    language: str | None = None


def read_document(body: bytes, headers: Mapping[str, str], url: str) -> FeedDocument:
    """Return what the feed in `body` says; `url` is what relative links are relative to.

    At most MAX_ENTRIES entries. Raises NotAFeed.
    """
    utf8 = convert_to_utf8({"content-type": _xml_type(body, headers)}, body.lstrip(), {})
    _refuse_what_is_unsafe(utf8)
    parsed = _parse(utf8, url)
    if not parsed.version and not parsed.entries:
        raise NotAFeed("the document is neither RSS nor Atom")
    entries: dict[str, Entry] = {}
    for raw in parsed.entries[:MAX_ENTRIES]:
        entry = _entry(raw)
        entries.setdefault(entry.external_id, entry)
    return FeedDocument(tuple(entries.values()), dict.get(parsed.feed, "language"))


def _xml_type(body: bytes, headers: Mapping[str, str]) -> str:
    """Return the media type with the charset to go by: a byte order mark before the header (RFC 7303).

    Always as application/xml: feedparser takes text/xml without a charset for ASCII, which nobody means.
    """
    for mark, charset in _MARKS.items():
        if body.startswith(mark):
            return f"application/xml; charset={charset}"
    _, charset = parse_content_type(headers.get("content-type", ""))
    return f"application/xml; charset={charset}" if charset else "application/xml"


def _parse(utf8: bytes, url: str) -> Any:
    try:
        return feedparser.parse(
            io.BytesIO(utf8),
            response_headers={"content-type": "application/xml; charset=utf-8", "content-location": url},
            # Markup is stripped by us, so there is none to make safe.
            sanitize_html=False,
            resolve_relative_uris=False,
        )
    except Exception as error:
        # The loose parser has no closed set of errors for what it cannot follow.
        raise NotAFeed(f"the document cannot be parsed: {error!r:.200}") from error


def _refuse_what_is_unsafe(utf8: bytes) -> None:
    root = _ROOT.search(utf8, 0, MAX_PROLOG_BYTES)
    if root is None:
        raise NotAFeed(f"no element in the first {MAX_PROLOG_BYTES:,} bytes")
    # What feedparser itself takes for entity declarations, whatever XML makes of them.
    if b"<!entity" in utf8[: root.start()].lower():
        raise NotAFeed("the document declares entities, which are never expanded here")
    if not _well_formed(utf8) and len(utf8) > MAX_LOOSE_BYTES:
        raise NotAFeed(f"the document is not well-formed, and larger than {MAX_LOOSE_BYTES:,} bytes")


def _well_formed(utf8: bytes) -> bool:
    """Whether expat can read all of it. Raises NotAFeed at a DTD with a subset of its own.

    A DOCTYPE that only names a DTD elsewhere, as RSS 0.91 has, is harmless: it is never fetched.
    """
    parser = expat.ParserCreate("utf-8")

    def on_doctype(_name: str, _system: str | None, _public: str | None, has_subset: int) -> None:
        if has_subset:
            raise NotAFeed("the document has a DTD of its own, which is never read here")

    parser.StartDoctypeDeclHandler = on_doctype
    try:
        parser.Parse(utf8, True)
    except expat.ExpatError:
        return False
    return True


def _entry(raw: Any) -> Entry:
    # dict.get: feedparser's own get() warns about keys that it answers with another's value.
    title = _plain(dict.get(raw, "title_detail"))
    body = _plain(_body(raw))
    # Many feeds repeat the beginning of the text as its title; said once, it counts once.
    whole = body if body.startswith(title.rstrip("….")) else f"{title}\n\n{body}".strip()
    link = clean_line(dict.get(raw, "link") or "")
    return Entry(
        external_id=_external_id(dict.get(raw, "id") or link, whole),
        # Escaped: a mention's text is cleaned of markup, and this no longer is any.
        text=html.escape(whole[:MAX_TEXT], quote=False),
        author=_line(dict.get(raw, "author_detail", {}).get("name"), 200),
        url=link if _URL.fullmatch(link) else None,
        published_at=_moment(dict.get(raw, "published_parsed") or dict.get(raw, "updated_parsed")),
        tags=_tags(dict.get(raw, "tags") or ()),
    )


def _body(raw: Any) -> Any:
    """Return the fullest text that an entry has: its content, else its summary."""
    for content in dict.get(raw, "content") or ():
        if content.get("type") in _TEXT_TYPES and content.get("value"):
            return content
    return dict.get(raw, "summary_detail")


def _plain(detail: Any) -> str:
    if not detail:
        return ""
    value = detail.get("value") or ""
    return clean_text(html.escape(value, quote=False) if detail.get("type") == "text/plain" else value)


def _external_id(given: str, text: str) -> str:
    """Return the entry's own id; a digest of it when it is too long, of the text when there is none."""
    line = clean_line(given)
    if 0 < len(line) <= 500:
        return line
    return f"sha256:{hashlib.sha256((line or text).encode('utf-8', 'replace')).hexdigest()}"


def _line(value: str | None, most: int) -> str | None:
    return clean_line(value or "")[:most].strip() or None


def _moment(parsed: Any) -> datetime | None:
    """Return feedparser's UTC struct_time as a datetime; None when it is no moment that exists."""
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _tags(tags: Any) -> tuple[str, ...]:
    names = (_line(tag.get("term"), 100) for tag in tags[:MAX_TAGS])
    return tuple(dict.fromkeys(name for name in names if name))
