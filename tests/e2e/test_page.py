"""The page in a real browser, over the API and the real engine: what a recruiter sees is what was said."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Page, Request

from services.api.app import create_app
from services.api.queries import Store
from services.metrics.migrate import migrate
from services.metrics.store import ClickHouseStore
from services.metrics.writer import write
from shared.brands import parse_brands
from shared.clickhouse import connect
from shared.clock import SystemClock
from shared.settings import Settings
from shared.telemetry import QuietServer, listen
from tests.integration.waiting import until
from tests.unit.metrics.events import event, message

pytestmark = [pytest.mark.io, pytest.mark.browser]

BOOK = parse_brands('[[brands]]\nname = "Acme Zorg"\n[[brands]]\nname = "Beta Bouw"')
XSS = '<script>document.title="xss"</script>"><img src="/boom" onerror="document.title=\'xss\'">'
COLOURS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""
FAIL = {"is_fail": True, "is_question": False, "fail_terms": ["niks gehoord"], "topics": ["response time"]}
QUESTION = {"is_fail": False, "is_question": True, "stage": "vacancy", "topics": ["salary"]}
PRAISE = {"is_fail": False, "is_question": False, "sentiment": 0.5, "sentiment_label": "positive"}


def said(name: str, published_at: datetime, **labels: Any) -> bytes:
    """Return an enriched mention that was published at that moment."""
    return message(name, published_at=published_at.isoformat(), **labels)


def mentions(now: datetime) -> list[bytes]:
    """Return 12 mentions of Acme (7 #fails, 3 questions) and 2 of Beta (1 question), over the last days."""

    def ago(days: float) -> datetime:
        return now - timedelta(days=days)

    return [
        *(said(f"f{i}", ago(1 + i), text=f"Nog niks gehoord {i}", **FAIL) for i in range(6)),
        *(said(f"q{i}", ago(2 + i), text=f"Wat verdien je? {i}", **QUESTION) for i in range(3)),
        *(said(f"p{i}", ago(3 + i), text=f"Fijn gesprek {i}", **PRAISE) for i in range(2)),
        said("xss", ago(0.01), text=XSS, url="javascript:document.title='xss'", **FAIL | {"topics": [XSS]}),
        said("b0", ago(1), brand="Beta Bouw", text="Bouwen is leuk", **PRAISE),
        said("b1", ago(2), brand="Beta Bouw", text="Hoe laat begint het?", **QUESTION),
    ]


@pytest.fixture(scope="module")
async def site(store_settings: Settings) -> AsyncIterator[str]:
    """Return the address of an API whose database has `mentions`."""
    settings = store_settings.model_copy(
        update={"clickhouse_database": f"page_{uuid4().hex[:12]}", "api_port": 0}
    )
    await asyncio.to_thread(fill, settings)
    app = create_app(settings, Store(settings, BOOK), SystemClock())
    with listen(settings.host, 0) as listener:
        server = QuietServer(uvicorn.Config(app, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://{settings.host}:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


def fill(settings: Settings) -> None:
    """Make the database and write `mentions` to it, as the sink does."""
    migrate(settings)
    client = connect(settings)
    store = ClickHouseStore(client)
    events = [event(value, offset) for offset, value in enumerate(mentions(SystemClock().now()))]
    written = write(events, store)
    assert written.rows == len(events)
    store.recount(written.hours)
    client.close()


@dataclass
class Visit:
    """A page in the browser, and what it asked for and complained of."""

    page: Page
    site: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self, address: str) -> None:
        """Go to an address of the site, and wait for its chart."""
        await self.page.goto(f"{self.site}/{address}")
        await self.page.wait_for_selector("#chart[data-drawn]")

    async def card(self, name: str) -> str:
        """Return one headline figure."""
        card = self.page.locator(".card", has=self.page.get_by_role("heading", name=name, exact=True))
        return await card.locator(".value").inner_text()

    async def drawn(self, series: str) -> list[int]:
        """Return the numbers that a line of the chart was drawn from."""
        found: list[int] = await self.page.evaluate(
            """name => {
                const line = Bokeh.documents.at(-1).get_model_by_name(name);
                return Array.from(line.data_source.data[line.glyph.y.field]);
            }""",
            series,
        )
        return found


@pytest.fixture
async def visit(browser: Browser, site: str) -> AsyncIterator[Callable[..., Any]]:
    """Return what opens a page with the given viewport and colours; nothing may go wrong on it."""
    visits: list[Visit] = []

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Visit]:
        context = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        seen = Visit(await context.new_page(), site)
        visits.append(seen)
        seen.page.on("console", lambda message: note(seen, message))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda request: requested(seen, request))
        yield seen
        await context.close()

    yield opened
    assert visits
    for seen in visits:
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(f"{site}/")] == []
        assert not any("boom" in url for url in seen.requests)


def note(seen: Visit, message: ConsoleMessage) -> None:
    if message.type in {"error", "warning"}:
        seen.complaints.append(message.text)


def requested(seen: Visit, request: Request) -> None:
    seen.requests.append(request.url)


async def test_the_page_shows_what_was_said(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("?brand=Acme+Zorg&days=30")
        figures = {name: await seen.card(name) for name in ("Mentions", "#fails", "Questions")}
        assert figures == {"Mentions": "12", "#fails": "7", "Questions": "3"}
        (count,) = await seen.page.locator("#mentions .tabs [aria-current]").all_inner_texts()
        assert count == "All (12)"
        assert await seen.page.locator(".mention").count() == 12
        row = seen.page.get_by_role("row", name="salary")
        assert await row.locator("td.figure").all_inner_texts() == ["3", "0", "3"]


async def test_the_chart_is_drawn_from_the_same_numbers(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("?brand=Acme+Zorg&days=30")
        fails, questions = await seen.drawn("fails"), await seen.drawn("questions")
        assert (len(fails), sum(fails), sum(questions)) == (30, 7, 3)
        # Lines, bars and letters have many colours; an empty canvas has one.
        assert await seen.page.locator("#chart canvas").first.evaluate(COLOURS) > 20
        await seen.open("?brand=Acme+Zorg&days=30&per=week")
        assert sum(await seen.drawn("fails")) == 7
        assert len(await seen.drawn("fails")) in {5, 6}


async def test_pointing_at_a_day_tells_its_numbers(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("?brand=Acme+Zorg&days=7")
        # The table has the same days, newest first; inner_text would need it to be open.
        rows = await seen.page.locator(".numbers tbody tr").evaluate_all(
            "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
        )
        told = {day: [f"#fails: {f}", f"questions: {q}", f"all mentions: {n}"] for day, f, q, n, _ in rows}
        box = await seen.page.locator("#chart").bounding_box()
        assert box
        tooltip = seen.page.locator(".bk-tooltip-content b")

        async def point() -> None:
            await seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 150)
            await asyncio.sleep(0.05)

        await until(tooltip.is_visible, point, seconds=10)
        day, *numbers = (await seen.page.locator(".bk-tooltip-content").inner_text()).split("\n")
        assert numbers == told[day]


async def test_another_brand_has_other_figures(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("?days=90")
        assert await seen.card("Mentions") == "14"
        await seen.page.get_by_label("Brand").select_option("Beta Bouw")
        await seen.page.get_by_role("button", name="Show").click()
        await seen.page.wait_for_selector("#chart[data-drawn]")
        assert seen.page.url == f"{seen.site}/?brand=Beta+Bouw&days=90"
        assert [await seen.card(name) for name in ("Mentions", "#fails", "Questions")] == ["2", "0", "1"]
        await seen.page.get_by_role("button", name="7 days", exact=True).click()
        await seen.page.wait_for_url("**/?brand=Beta+Bouw&days=7")


async def test_only_fails_and_only_questions(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("?brand=Acme+Zorg")
        await seen.page.get_by_role("link", name="Questions (3)").click()
        await seen.page.wait_for_url("**only=questions**")
        texts = await seen.page.locator(".mention .text").all_inner_texts()
        assert texts == ["Wat verdien je? 0", "Wat verdien je? 1", "Wat verdien je? 2"]


async def test_what_people_write_stays_text(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("?brand=Acme+Zorg&only=fails")
        newest = seen.page.locator(".mention").first
        assert await newest.locator(".text").inner_text() == XSS
        assert await newest.locator("script, img, [onerror]").count() == 0
        assert await newest.get_by_role("link", name="Open the original").count() == 0
        assert "xss" not in await seen.page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1920])
async def test_nothing_sticks_out(visit: Callable[..., Any], scheme: str, width: int) -> None:
    async with visit(viewport={"width": width, "height": 800}, color_scheme=scheme) as seen:
        await seen.open("?brand=Acme+Zorg&stage=silence&source=linkedin&topic=response+time")
        assert await seen.page.locator(f"#chart[data-drawn={scheme}]").count() == 1
        assert await seen.page.evaluate("document.documentElement.scrollWidth") == width


async def test_the_page_works_without_javascript(visit: Callable[..., Any]) -> None:
    async with visit(java_script_enabled=False) as seen:
        await seen.page.goto(f"{seen.site}/?brand=Acme+Zorg")
        assert await seen.card("#fails") == "7"
        await seen.page.get_by_text("The numbers as a table").click()
        table = seen.page.get_by_role("region", name="Numbers per day")
        assert sum(int(n) for n in await table.locator("tbody td:nth-child(2)").all_inner_texts()) == 7
        await seen.page.get_by_label("Brand").select_option("Beta Bouw")
        await seen.page.get_by_role("button", name="90 days").click()
        await seen.page.wait_for_url("**/?brand=Beta+Bouw&days=90")
        assert await seen.card("Mentions") == "2"


async def test_everything_can_be_reached_by_keyboard(visit: Callable[..., Any]) -> None:
    async with visit() as seen:
        await seen.open("")
        await seen.page.keyboard.press("Tab")
        assert await seen.page.evaluate("document.activeElement.textContent") == "Skip to the figures"
        names = []
        for _ in range(8):
            await seen.page.keyboard.press("Tab")
            names.append(
                await seen.page.evaluate("document.activeElement.id || document.activeElement.innerText")
            )
        assert names == ["Klankbord", "API", "brand", "7 days", "30 days", "90 days", "365 days", "Show"]
