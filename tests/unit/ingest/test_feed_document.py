"""What an RSS or Atom document says, and which documents are not even looked at."""

import html
import resource
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.connectors.feed_document import (
    MAX_ENTRIES,
    MAX_LOOSE_BYTES,
    FeedDocument,
    NotAFeed,
    read_document,
)
from shared.events import MAX_TEXT
from shared.text import clean_text

URL = "https://blog.example/feed"

RSS = b"""<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0"><channel><title>Blog</title><language>nl-NL</language>
<item>
  <guid isPermaLink="false">a-1</guid><link>https://blog.example/1?x=1&amp;y=2</link>
  <title>Mijn sollicitatie</title><dc:creator xmlns:dc="http://purl.org/dc/elements/1.1/">Jan</dc:creator>
  <description>&lt;p&gt;Eerste &lt;b&gt;alinea&lt;/b&gt;.&lt;/p&gt;&lt;p&gt;Tweede.&lt;/p&gt;</description>
  <category>zorg</category><category>zorg</category><category>werk</category>
  <pubDate>Sun, 29 Mar 2026 10:00:00 +0200</pubDate>
</item>
<item><link>/2</link><title>Zonder datum</title></item>
<item><title>Zonder id of adres</title></item>
</channel></rss>"""

ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">
<title>News</title>
<entry><id>tag:news,1</id><link href="https://news.example/1"/><title type="text">Salary &lt; market</title>
  <author><name>Ann</name><email>ann@news.example</email></author>
  <published>2026-03-29T08:00:00Z</published><updated>2026-03-30T08:00:00Z</updated>
  <summary>short</summary><content type="html">&lt;p&gt;the whole story&lt;/p&gt;</content></entry>
<entry><id>tag:news,2</id><title>Only updated</title><updated>2026-03-28T08:00:00+01:00</updated>
  <content type="text">if a &lt; b &amp;&amp; c</content></entry>
</feed>"""


def read(body: bytes, content_type: str = "application/rss+xml") -> FeedDocument:
    return read_document(body, {"content-type": content_type}, URL)


def test_rss_gives_its_entries() -> None:
    document = read(RSS)
    first, second, third = document.entries

    assert document.language == "nl-NL"
    assert (first.external_id, first.author, first.url) == ("a-1", "Jan", "https://blog.example/1?x=1&y=2")
    assert first.text == "Mijn sollicitatie\n\nEerste alinea.\n\nTweede."
    assert first.published_at == datetime(2026, 3, 29, 8, tzinfo=UTC)
    assert first.tags == ("zorg", "werk")
    assert (second.external_id, second.url) == ("https://blog.example/2", "https://blog.example/2")
    assert second.published_at is None
    assert third.external_id.startswith("sha256:")


def test_atom_gives_content_before_summary_and_published_before_updated() -> None:
    first, second = read(ATOM, "application/atom+xml").entries

    assert html.unescape(first.text) == "Salary < market\n\nthe whole story"
    assert first.published_at == datetime(2026, 3, 29, 8, tzinfo=UTC)
    assert first.author == "Ann"
    assert clean_text(second.text) == "Only updated\n\nif a < b && c"
    assert second.published_at == datetime(2026, 3, 28, 7, tzinfo=UTC)


def test_a_title_that_only_repeats_the_text_is_said_once() -> None:
    item = b"<item><title>Al drie...</title><description>Al drie weken geen antwoord</description></item>"

    document = read(b"<rss version='2.0'><channel>%b</channel></rss>" % item)

    assert document.entries[0].text == "Al drie weken geen antwoord"


def test_broken_xml_is_still_read() -> None:
    broken = b"<rss version='2.0'><channel><item><guid>1</guid><title>R&D & zo <br> meer</title></item>"

    assert [entry.external_id for entry in read(broken).entries] == ["https://blog.example/1"]


@pytest.mark.parametrize(
    "body",
    [
        RSS.decode().encode("utf-16"),
        RSS.decode().replace("utf-8", "utf-16").encode("utf-16"),
        b"\n\n  " + RSS,
        b"\xef\xbb\xbf" + RSS,
    ],
)
def test_encodings_and_blanks_before_the_document_are_no_matter(body: bytes) -> None:
    assert read(body, "text/xml").entries[0].external_id == "a-1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"plain text",
        b"{}",
        b"<html><body>404</body></html>",
        b"<!DOCTYPE html><html><head><title>Sorry</title></head><body><p>not found</body></html>",
        b"<?xml version='1.0'?><svg/>",
        b" " * 100 + b"\n" * 20_000 + RSS.replace(b"<?xml", b"<!-- " + b"x" * 20_000 + b" --><?xml"),
    ],
)
def test_what_is_no_feed_is_refused(body: bytes) -> None:
    with pytest.raises(NotAFeed):
        read(body, "text/html")


def laughs(levels: int) -> str:
    entities = "".join(
        f'<!ENTITY l{n} "{"lol" if n == 0 else f"&l{n - 1};" * 10}">' for n in range(levels + 1)
    )
    return (
        f'<?xml version="1.0"?><!DOCTYPE lolz [{entities}]><rss version="2.0"><channel>'
        f"<item><guid>1</guid><title>&l{levels};</title></item></channel></rss>"
    )


EXTERNAL = """<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<rss version="2.0"><channel><item><guid>1</guid><title>&x;</title></item></channel></rss>"""
PARAMETER = """<?xml version="1.0"?><!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1/x.dtd"> %x;]>
<rss version="2.0"><channel><item><guid>1</guid></item></channel></rss>"""
HIDDEN = """<!-- <a> --><!DOCTYPE r [<!ENTITY x "y">]>
<rss version="2.0"><channel><item><guid>1</guid><title>&x;</title></item></channel></rss>"""
# One long entity, referred to often: no nesting, quadratic all the same.
QUADRATIC = (
    f'<!DOCTYPE r [<!ENTITY x "{"y" * 100_000}">]><rss version="2.0"><channel><item><guid>1</guid><title>'
    f"{'&x;' * 100_000}</title></item></channel></rss>"
)


@pytest.mark.parametrize("document", [laughs(9), EXTERNAL, PARAMETER, HIDDEN, QUADRATIC])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-7"])
def test_entities_are_never_expanded(document: str, encoding: str) -> None:
    began = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(NotAFeed):
        read_document(document.encode(encoding), {"content-type": f"text/xml; charset={encoding}"}, URL)

    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_doctype_that_only_names_a_dtd_is_harmless() -> None:
    old = b"""<?xml version="1.0"?>
<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://127.0.0.1:1/rss-0.91.dtd">
<rss version="0.91"><channel><item><title>Old</title><link>https://old.example/</link></item></channel></rss>"""

    assert read(old).entries[0].external_id == "https://old.example/"


def test_a_doctype_in_the_text_of_an_entry_is_text() -> None:
    code = RSS.replace(b"Zonder datum", b"<![CDATA[Schrijf <!DOCTYPE x [<!ENTITY y 'z'>]> bovenaan]]>")

    assert len(read(code).entries) == 3


def test_a_large_feed_is_read_and_only_so_many_entries_of_it() -> None:
    items = b"".join(b"<item><guid>%d</guid><title>x</title></item>" % n for n in range(MAX_ENTRIES + 500))

    document = read(b"<rss version='2.0'><channel>%b</channel></rss>" % items)

    assert len(document.entries) == MAX_ENTRIES
    assert document.entries[0].external_id == "https://blog.example/0"


def test_a_large_document_that_is_not_well_formed_is_refused_quickly() -> None:
    nested = b"<rss version='2.0'><channel><item>" + b"<a>" * (10_000_000 // 3)
    assert len(nested) > MAX_LOOSE_BYTES
    began = time.process_time()

    with pytest.raises(NotAFeed, match="not well-formed"):
        read(nested)

    assert time.process_time() - began < 5


def test_what_an_entry_cannot_be_used_for_is_left_out() -> None:
    item = (
        b"<item><guid>%b</guid><link>javascript:alert(1)</link><title>x</title>"
        b"<pubDate>yesterday</pubDate><author>%b</author></item>" % (b"g" * 900, b"n" * 900)
    )

    entry = read(b"<rss version='2.0'><channel>%b</channel></rss>" % item).entries[0]

    assert entry.external_id.startswith("sha256:")
    assert (entry.url, entry.published_at) == (None, None)
    assert len(entry.author or "") == 200


def test_a_long_text_is_cut_to_what_a_mention_holds() -> None:
    text = b"&lt;p&gt;" + b"woord &amp;lt; " * 5_000 + b"&lt;/p&gt;"
    item = b"<item><guid>1</guid><description>%b</description></item>" % text

    entry = read(b"<rss version='2.0'><channel>%b</channel></rss>" % item).entries[0]

    assert MAX_TEXT - 10 <= len(clean_text(entry.text)) <= MAX_TEXT
    assert clean_text(entry.text).startswith("woord < woord <")


@given(st.text(max_size=60))
def test_an_entrys_text_survives_the_cleaning_of_a_mention(text: str) -> None:
    title = html.escape(html.escape(clean_text(text), quote=False), quote=False)
    body = f"<rss version='2.0'><channel><item><guid>1</guid><title>{title}</title></item></channel></rss>"

    entry = read(body.encode("utf-8", "replace")).entries[0]

    assert clean_text(entry.text) == html.unescape(entry.text)
