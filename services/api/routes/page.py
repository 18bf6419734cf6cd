"""The page for recruiters at /, its style and scripts, and what the browser may do with them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from services.api.buckets import TooManyPoints, zone_named
from services.api.cursor import Cursor, InvalidCursor, decode_cursor
from services.api.page.chart import chart_json
from services.api.page.facts import Facts, gather_facts, mention_filters, newest
from services.api.page.form import Form, Period, filters_of, period_of, read_form
from services.api.page.render import BOKEH_JS, STATIC, Assets, Renderer, find_assets
from services.api.page.view import Link, controls, day_text, page_view
from services.api.queries import Store
from services.api.responses import BrandSummary
from shared.clock import Clock
from shared.errors import ConfigError, DependencyUnavailable
from shared.problems import RETRY_AFTER_SECONDS
from shared.settings import Settings

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # Bokeh puts <style> elements with contents of its own into its shadow roots.
        "style-src 'self'; style-src-elem 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HTML_HEADERS = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-store"}
FOR_GOOD = {"cache-control": "public, max-age=31536000, immutable"}
log = structlog.get_logger()


def mount_page(app: FastAPI, store: Store, settings: Settings, clock: Clock) -> None:
    """Let `app` serve the page and what it needs. Raises ConfigError on an unknown time zone."""
    assets = find_assets()
    app.include_router(page_router(PageRoutes(store, settings, clock, assets)))
    app.router.routes.append(static_routes(assets))


def page_router(page: "PageRoutes") -> APIRouter:
    """Return the route of the page."""
    router = APIRouter()
    router.add_api_route(
        "/", page.show, methods=["GET", "HEAD"], include_in_schema=False, response_class=HTMLResponse
    )
    return router


def static_routes(assets: Assets) -> Mount:
    """Return the routes of style and scripts, at addresses that change with their content."""

    async def bokeh_js(_request: Request) -> Response:
        return FileResponse(BOKEH_JS, media_type="text/javascript", headers=FOR_GOOD)

    return Mount(
        "/static",
        routes=[
            Route(assets.bokeh.removeprefix("static"), bokeh_js),
            Mount(assets.file("").removeprefix("static").rstrip("/"), _KeptFiles(directory=STATIC)),
        ],
        middleware=[Middleware(GZipMiddleware)],
    )


class _KeptFiles(StaticFiles):
    """Files that browsers may keep for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or 404."""
        response = await super().get_response(path, scope)
        response.headers.update(FOR_GOOD)
        return response


@dataclass(frozen=True)
class _Asked:
    """A request whose parameters are right."""

    form: Form
    brands: Sequence[BrandSummary]
    period: Period
    cursor: Cursor | None


class PageRoutes:
    """Answers requests for the page."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, assets: Assets) -> None:
        self._store = store
        self._clock = clock
        self._renderer = Renderer(assets)
        self._ingest_url = f"http://{settings.host}:{settings.ingest_port}"
        try:
            self._zone: ZoneInfo = zone_named(settings.page_timezone)
        except ValueError as error:
            raise ConfigError(f"KLANKBORD_PAGE_TIMEZONE is {settings.page_timezone!r}; it {error}.") from None

    async def show(self, request: Request) -> Response:
        """Answer with the page, with what is wrong in the request (422), or with an outage (503)."""
        form = read_form(request.query_params.multi_items())
        if form.untidy and not form.errors:
            return RedirectResponse(form.choice.url(cursor=form.choice.cursor), 303)
        try:
            return await self._answer(form)
        except DependencyUnavailable as error:
            log.warning("dependency_unavailable", dependency=error.dependency, reason=error.reason)
            return self._away(form)

    async def _answer(self, form: Form) -> Response:
        brands = await self._store.brands()
        if not form.errors and not any(brand.mentions for brand in brands):
            return self._guide(brands)
        asked = self._understand(form, brands)
        if isinstance(asked, Form):
            return self._refuse(asked, brands)
        try:
            facts = await gather_facts(self._store, form.choice, asked.period, self._zone, asked.cursor)
        except TooManyPoints as error:
            return self._refuse(form.refused("from", str(error)), brands)
        return self._html("page.html", await asyncio.to_thread(self._values, asked, facts))

    def _understand(self, form: Form, brands: Sequence[BrandSummary]) -> _Asked | Form:
        """Return what is asked, or the form with what is wrong in it."""
        choice = form.choice
        period = period_of(choice, self._clock.now(), self._zone)
        if isinstance(period, Mapping):
            for field, reason in period.items():
                form = form.refused(field, reason)
        if choice.brand and choice.brand not in {brand.name for brand in brands}:
            form = form.refused("brand")
        if form.errors or isinstance(period, Mapping):
            return form
        filters = mention_filters(choice, filters_of(choice, period.start, period.end))
        try:
            cursor = decode_cursor(choice.cursor, filters) if choice.cursor else None
        except InvalidCursor:
            return form.refused("cursor")
        return _Asked(form, brands, period, cursor)

    def _values(self, asked: _Asked, facts: Facts) -> dict[str, object]:
        choice = asked.form.choice
        view = page_view(choice, asked.period, facts, self._zone, self._clock.now())
        about = [b for b in asked.brands if choice.brand in {None, b.name}]
        latest = newest([brand.last_mention for brand in about])
        return {
            "view": view,
            "controls": controls(asked.form, asked.brands, facts.all_sources),
            "chart": None if view.is_empty else chart_json(view.buckets, view.interval),
            "latest": day_text(latest.astimezone(self._zone).date()) if latest else "",
            "wider": _wider(asked),
        }

    def _refuse(self, form: Form, brands: Sequence[BrandSummary]) -> Response:
        values = {
            "controls": controls(form, brands, ()),
            "heading": "This cannot be shown",
            "lines": ["Something in the address or the form is not right. Change it, and try again."],
            "wrongs": form.errors,
            "way_out": Link("Start again", "?"),
        }
        return self._html("problem.html", values, 422)

    def _away(self, form: Form) -> Response:
        values: dict[str, object] = {
            "controls": None,
            "heading": "The figures are away for a moment",
            "lines": [
                "The database does not answer. Nothing is lost: mentions that come in meanwhile are kept, "
                "and show up when it is back."
            ],
            "wrongs": {},
            "way_out": Link("Try again", form.choice.url(cursor=form.choice.cursor)),
        }
        response = self._html("problem.html", values, 503)
        response.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
        return response

    def _guide(self, brands: Sequence[BrandSummary]) -> Response:
        values = {
            "brand": brands[0].name if brands else "Acme",
            "ingest_url": self._ingest_url,
            "now": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return self._html("guide.html", values)

    def _html(self, template: str, values: Mapping[str, object], status: int = 200) -> Response:
        return HTMLResponse(self._renderer.html(template, **values), status, HTML_HEADERS)


def _wider(asked: _Asked) -> Link:
    """Return where there is more to see than nothing."""
    choice = asked.form.choice
    open_choice = {"language": None, "source": None, "stage": None, "topic": None, "only": None}
    if any(getattr(choice, name) for name in open_choice):
        return Link("Take the filters away", choice.url(**open_choice))
    return Link("Show the last 365 days", choice.url(days=365, first=None, until=None))
