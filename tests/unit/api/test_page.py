"""The page over a store in memory: what is served, refused and escaped, and with which headers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import bokeh
import httpx
import pytest

from services.api.app import create_app
from services.api.responses import EXAMPLE_SPIKE, Checked
from shared.clock import ManualClock
from shared.errors import ConfigError
from shared.settings import Settings
from shared.spike_events import Spike
from tests.unit.api.page_store import PageStore, said

NOW = datetime(2026, 11, 23, 14, 20, tzinfo=UTC)
XSS = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7*7 }}</textarea><!--'


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def store() -> PageStore:
    return PageStore(
        said(
            "new",
            ago(1),
            text="Nog niks gehoord!",
            is_fail=True,
            fail_terms=["niks gehoord"],
            url="https://e.org/1",
        ),
        *(said(f"ask{i}", ago(2 + i / 100), is_question=True, text=f"vraag {i}") for i in range(25)),
        said("beta", ago(3), brand="Beta & Co", text="Wat een fijn gesprek", language="en"),
        said("old", ago(200), text="lang geleden"),
    )


@pytest.fixture
async def page(store: PageStore) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(Settings(), store, ManualClock(NOW)))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        yield client
    await asyncio.to_thread(store.close)


class Outline(HTMLParser):
    """The tags of a page, and whether they are closed in order."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def get(page: httpx.AsyncClient, url: str, status: int = 200) -> str:
    answer = await page.get(url)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    Outline(answer.text)
    return answer.text


def card(html: str, name: str) -> str:
    found = re.search(rf'<h3>{name}</h3>\s*<p class="value">([^<]*)</p>', html)
    assert found, name
    return found[1]


async def test_the_page_shows_the_figures(page: httpx.AsyncClient) -> None:
    html = await get(page, "/")
    assert "<title>All brands, 25 Oct – 23 Nov 2026 · Klankbord</title>" in html
    assert (card(html, "Mentions"), card(html, "#fails"), card(html, "Questions")) == ("27", "1", "25")
    assert "Nog niks gehoord!" in html
    assert '<q lang="nl">niks gehoord</q>' in html
    assert "lang geleden" not in html


async def test_a_brand_can_be_chosen(page: httpx.AsyncClient) -> None:
    html = await get(page, "/?brand=Beta+%26+Co&days=30")
    assert card(html, "Mentions") == "1"
    assert '<option value="Beta &amp; Co" selected>' in html
    assert 'lang="en" dir="auto">Wat een fijn gesprek' in html
    assert "Nog niks gehoord!" not in html


async def test_links_to_the_original_give_nothing_away(page: httpx.AsyncClient) -> None:
    links = [a for a in Outline(await get(page, "/")).all("a") if a["href"] == "https://e.org/1"]
    assert [a["rel"] for a in links] == ["noopener noreferrer nofollow"]


async def test_mentions_go_on_to_the_next_page(page: httpx.AsyncClient) -> None:
    html = await get(page, "/?only=questions")
    shown = re.findall(r">(vraag \d+)<", html)
    (following,) = [a["href"] for a in Outline(html).all("a") if a.get("rel") == "next"]
    assert following
    older = await get(page, "/" + following.split("#")[0])
    assert shown + re.findall(r">(vraag \d+)<", older) == [f"vraag {i}" for i in range(25)]
    assert len(shown) == 20
    assert 'rel="next"' not in older


async def test_the_table_has_what_the_chart_shows(page: httpx.AsyncClient) -> None:
    html = await get(page, "/?days=7")
    rows = re.findall(
        r'<th scope="row">([^<]*2026[^<]*)</th><td>(\d+)</td><td>(\d+)</td><td>(\d+)</td>', html
    )
    assert rows[:3] == [
        ("Mon 23 Nov 2026 (not complete)", "0", "0", "0"),
        ("Sun 22 Nov 2026", "1", "0", "1"),
        ("Sat 21 Nov 2026", "0", "25", "25"),
    ]
    found = re.search(r'<script type="application/json" id="chart-data">(.*?)</script>', html, re.S)
    assert found
    assert '["fails", [0, 0, 0, 0, 0, 1, 0]]' in found[1]
    assert json.loads(found[1])["item"]["version"] == bokeh.__version__


async def test_what_people_write_is_only_text(page: httpx.AsyncClient, store: PageStore) -> None:
    mischief: dict[str, Any] = {
        "text": XSS,
        "url": "javascript:alert(3)",
        "brand": XSS[:60],
        "source": XSS,
        "author": {"name": XSS, "handle": None},
        "topics": [XSS],
        "fail_terms": [XSS],
        "is_fail": True,
        "kind": XSS,
        "stage": XSS,
        "language": '"><script>',
    }
    store.all.insert(0, said("xss", ago(0.5), **mischief))
    html = await get(page, "/")
    assert html.count("&lt;script&gt;alert(1)") >= 6
    outline = Outline(html)
    assert [script.get("src") or script["type"] for script in outline.all("script")] == [
        f"static/bokeh/{bokeh.__version__}/bokeh.min.js",
        *[s["src"] for s in outline.all("script") if (s.get("src") or "").startswith("static/page/")],
        "application/json",
    ]
    assert [image["src"] for image in outline.all("img")] == [outline.all("link")[0]["href"]]
    assert not any(
        name.startswith("on") or name == "style" for _, attributes in outline.tags for name in attributes
    )
    assert not any((a["href"] or "").startswith("javascript") for a in outline.all("a"))


async def test_wrong_parameters_are_named_and_the_form_is_kept(page: httpx.AsyncClient) -> None:
    html = await get(page, "/?brand=Acme&from=2027-01-01&language=fr&bradn=%3Cb%3E", 422)
    assert '<option value="Acme" selected>' in html
    assert 'value="2027-01-01"' in html
    assert 'id="from-error">Lies in the future; today is 2026-11-23.' in html
    assert 'id="language-error">Choose one of nl, en, other, und.' in html
    assert "<dt>bradn</dt>" in html


@pytest.mark.parametrize("query", ["brand=Nobody", "cursor=abc", "days=31", "brand=Acme&brand=Acme"])
async def test_other_wrong_parameters(page: httpx.AsyncClient, query: str) -> None:
    assert f"<dt>{query.split('=', maxsplit=1)[0]}</dt>" in await get(page, f"/?{query}", 422)


async def test_a_cursor_of_another_choice_is_refused(page: httpx.AsyncClient) -> None:
    following = next(a["href"] for a in Outline(await get(page, "/")).all("a") if a.get("rel") == "next")
    assert following
    html = await get(page, "/" + following.split("#")[0].replace("days=30", "days=90"), 422)
    assert "Start again at the newest mentions." in html


async def test_a_preset_leads_to_a_tidy_address(page: httpx.AsyncClient) -> None:
    answer = await page.get("/?brand=Acme&period=90&from=2026-01-01&until=&language=&source=&stage=")
    assert (answer.status_code, answer.headers["location"]) == (303, "?brand=Acme&days=90")


async def test_an_outage_is_said_kindly(page: httpx.AsyncClient, store: PageStore) -> None:
    store.outage = True
    html = await get(page, "/?brand=Acme", 503)
    assert "The figures are away for a moment" in html
    assert 'href="?brand=Acme&amp;days=30"' in html
    assert "10.0.0.7" not in html
    assert "Traceback" not in html
    assert int((await page.get("/")).headers["retry-after"]) > 0


async def test_a_period_without_mentions_says_where_there_are_some(page: httpx.AsyncClient) -> None:
    html = await get(page, "/?brand=Acme&from=2026-09-01&until=2026-09-30")
    assert "No mentions here" in html
    assert "The newest mention of Acme is of 22 Nov 2026." in html
    assert "chart-data" not in html
    html = await get(page, "/?brand=Acme&stage=offer")
    assert 'href="?brand=Acme&amp;days=30">Take the filters away' in html


async def test_without_any_mention_the_page_tells_how_to_send_one() -> None:
    settings = Settings(ingest_port=9123)
    transport = httpx.ASGITransport(create_app(settings, PageStore(), ManualClock(NOW)))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        html = await get(client, "/")
    assert "curl http://127.0.0.1:9123/v1/mentions" in html
    assert "klankbord import" in html


async def test_headers_let_the_browser_do_no_more_than_needed(page: httpx.AsyncClient) -> None:
    answer = await page.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_scripts_and_styles_are_ours_and_kept_for_good(page: httpx.AsyncClient) -> None:
    outline = Outline(await get(page, "/"))
    addresses = [s["src"] for s in outline.all("script") if s.get("src")] + [
        s["href"] for s in outline.all("link")
    ]
    assert len(addresses) == 4
    for address in addresses:
        assert address
        assert address.startswith("static/")
        answer = await page.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path", [f"/static/bokeh/{bokeh.__version__}/compiler.js", "/static/page/old/page.css"]
)
async def test_nothing_else_is_served(page: httpx.AsyncClient, path: str) -> None:
    assert (await page.get(path)).status_code == 404


async def test_the_page_shows_how_often_people_disagreed(page: httpx.AsyncClient, store: PageStore) -> None:
    assert "How often people disagreed" not in (await page.get("/")).text
    store.checked = [Checked(month="2026-11", label="fail", checked=40, agreed=31)]
    html = (await page.get("/")).text
    assert "How often people disagreed" in html
    assert "22 %" in html


async def test_the_page_shows_what_is_out_of_the_ordinary(page: httpx.AsyncClient, store: PageStore) -> None:
    assert "Out of the ordinary" not in (await page.get("/")).text
    example = {"id": str(uuid4()), "url": "javascript:alert(1)", "excerpt": "<b>niks gehoord</b>"}
    store.raised = [
        Spike.model_validate(EXAMPLE_SPIKE | {"brand": "Acme", "examples": [example]}),
        Spike.model_validate(EXAMPLE_SPIKE | {"kind": "source_silent", "brand": None}),
    ]
    html = (await page.get("/")).text
    assert html.count(" complained in ") == 1
    assert "42 people complained in an hour" in html
    assert "Waiting for an answer, response time" in html
    assert "&lt;b&gt;niks gehoord&lt;/b&gt;" in html
    assert "javascript:" not in html
    assert "Out of the ordinary" not in (await page.get("/?brand=Beta")).text


async def test_the_page_can_be_read_by_everybody(page: httpx.AsyncClient) -> None:
    outline = Outline(await get(page, "/"))
    assert outline.all("html") == [{"lang": "en"}]
    assert len(outline.all("main")) == len(outline.all("h1")) == 1
    labelled = {label["for"] for label in outline.all("label")}
    fields = outline.all("select") + [i for i in outline.all("input") if i.get("type") != "hidden"]
    assert labelled == {field["id"] for field in fields}
    assert all("scope" in heading for heading in outline.all("th"))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


async def test_the_head_alone_can_be_asked_for(page: httpx.AsyncClient) -> None:
    assert (await page.head("/")).status_code == 200


def test_an_unknown_time_zone_is_refused_at_the_start(store: PageStore) -> None:
    with pytest.raises(ConfigError, match="KLANKBORD_PAGE_TIMEZONE is 'Mars/Base'"):
        create_app(Settings(page_timezone="Mars/Base"), store, ManualClock(NOW))
