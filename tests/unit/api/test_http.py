"""The HTTP side, over a store that remembers what it was asked: parameters, errors, headers, docs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.api.app import create_app
from services.api.queries import MAX_WAITING, TABLES, Query, Store
from shared.brands import parse_brands
from shared.clock import ManualClock
from shared.errors import DependencyUnavailable
from shared.metrics_catalogue import API_REQUESTS
from shared.settings import Settings
from tests.unit.metric_values import value_of

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
BRANDS = parse_brands('[[brands]]\nname = "Zonneveld Zorg"\n[[brands]]\nname = "acme"')
DOCS = (Path(__file__).parents[3] / "docs/api.md").read_text()


class RecordingStore(Store):
    """A store over canned rows, that keeps the queries it got."""

    def __init__(self) -> None:
        super().__init__(Settings(), BRANDS)
        self.rows: list[Mapping[str, Any]] = []
        self.asked: list[Query] = []
        self.outage = False

    async def _rows(self, query: Query) -> Sequence[Mapping[str, Any]]:
        if self.outage:
            raise DependencyUnavailable("ClickHouse", "connection refused")
        self.asked.append(query)
        return self.rows


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
async def client(store: RecordingStore) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(), store, ManualClock(NOW))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.mark.parametrize(
    ("url", "field", "reason"),
    [
        ("/v1/timeseries?interval=dag", "interval", "'hour', 'day', 'week' or 'month'"),
        ("/v1/timeseries?metric=happiness", "metric", "'fail_rate'"),
        ("/v1/timeseries?group_by=author", "group_by.0", "'brand'"),
        ("/v1/timeseries?language=fr", "language.0", "'nl', 'en', 'other' or 'und'"),
        ("/v1/timeseries?stage=lunch", "stage.0", "'vacancy'"),
        ("/v1/timeseries?brand=", "brand.0", "at least 1 character"),
        ("/v1/timeseries?" + "&".join(["source=x"] * 51), "source", "at most 50 items"),
        ("/v1/timeseries?tz=Amsterdam", "tz", "IANA time zone"),
        ("/v1/timeseries?from=yesterday", "from", "must be a date"),
        ("/v1/timeseries?from=2026-02-30", "from", "must be a date"),
        ("/v1/timeseries?from=20260301", "from", "must be a date"),
        ("/v1/timeseries?from=1772323200", "from", "must be a date"),
        ("/v1/timeseries?from=2026-03-01T10:00:00", "from", "with its offset"),
        ("/v1/timeseries?to=9999-12-31", "to", "from 1970 to 2099"),
        ("/v1/timeseries?from=2026-03-02&to=2026-03-02", "from", "must lie before `to`"),
        ("/v1/timeseries?from=2026-04-02", "from", "must lie before `to`"),
        ("/v1/mentions?to=1999-01-01", "to", "must lie after `from`"),
        ("/v1/timeseries?from=2020-01-01&interval=hour", "interval", "use a coarser interval"),
        ("/v1/timeseries?brnd=acme", "brnd", "did you mean brand?"),
        ("/v1/timeseries?from_=2026-03-01", "from_", "did you mean from?"),
        ("/v1/timeseries?fails=true", "fails", "is not a parameter here; there are: brand,"),
        ("/v1/timeseries?interval=day&interval=hour", "interval", "must be given once"),
        ("/v1/mentions?limit=0", "limit", "greater than or equal to 1"),
        ("/v1/mentions?limit=201", "limit", "less than or equal to 200"),
        ("/v1/mentions?fails=misschien", "fails", "valid boolean"),
        ("/v1/mentions?q=%22%22", "q", "at least one word"),
        ("/v1/mentions?q=a+b+c+d+e+f+g+h+i+j+k", "q", "at most 10"),
        ("/v1/mentions?q=" + "a" * 201, "q", "at most 200 characters"),
        ("/v1/mentions?cursor=nonsense", "cursor", "is not a cursor"),
        ("/v1/mentions/7", "id", "valid UUID"),
        ("/v1/topics?limit=501", "limit", "less than or equal to 500"),
        ("/v1/brands?brand=acme", "brand", "no parameters are taken"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, store: RecordingStore, url: str, field: str, reason: str
) -> None:
    response = await client.get(url)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    (error,) = problem["errors"]
    assert error["field"] == field
    assert reason in error["reason"]
    assert problem["detail"] == f"Wrong: {field}."
    assert store.asked == []


async def test_all_wrong_parameters_are_named_at_once(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/v1/timeseries?interval=dag&tz=Mars&from=x")).json()
    assert {error["field"] for error in problem["errors"]} == {"interval", "tz", "from"}


async def test_the_default_period_is_thirty_local_days_today_included(
    client: httpx.AsyncClient, store: RecordingStore
) -> None:
    body = (await client.get("/v1/timeseries")).json()
    assert {name: body[name] for name in ("metric", "interval", "tz", "from", "to")} == {
        "metric": "mentions",
        "interval": "day",
        "tz": "Europe/Amsterdam",
        "from": "2026-02-28T00:00:00+01:00",
        "to": "2026-03-30T00:00:00+02:00",
    }
    (series,) = body["series"]
    assert series["group"] == {}
    assert len(series["points"]) == 30
    assert series["points"][-1] == {"t": "2026-03-29T00:00:00+01:00", "value": 0, "n": 0}
    assert set(body) == {"metric", "interval", "tz", "from", "to", "series"}
    assert len(store.asked) == 1


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("2026-03-01", "2026-02-28 23:00:00.000000"),
        ("2026-03-01&tz=UTC", "2026-03-01 00:00:00.000000"),
        ("2026-03-01&tz=Asia/Kolkata", "2026-02-28 18:30:00.000000"),
        ("2026-03-01T10:00:00Z", "2026-03-01 10:00:00.000000"),
        ("2026-03-01T10:00:00.25%2B02:00", "2026-03-01 08:00:00.250000"),
        ("2026-03-01T10:00:00+02:00", "2026-03-01 08:00:00.000000"),
        ("2026-03-01T10:00:00-05:00", "2026-03-01 15:00:00.000000"),
    ],
)
async def test_from_is_a_date_in_tz_or_a_moment(
    client: httpx.AsyncClient, store: RecordingStore, written: str, start: str
) -> None:
    assert (await client.get(f"/v1/timeseries?from={written}")).status_code == 200
    assert store.asked[0].values["start"] == start


async def test_mentions_without_a_period_are_of_all_time(
    client: httpx.AsyncClient, store: RecordingStore
) -> None:
    response = await client.get("/v1/mentions?fails=true&q=WACHT%20%22geen%20reactie%22&brand=a&brand=b")
    assert response.json() == {"mentions": [], "next_cursor": None}
    assert "link" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    (query,) = store.asked
    assert query.values == {
        "start": "2000-01-01 00:00:00.000000",
        "end": "2100-01-01 00:00:00.000000",
        "brands": ["a", "b"],
        "kinds": ["", "candidate", "employee", "other"],
        "terms": ["WACHT", "geen reactie"],
        "row_limit": 51,
    }
    assert "is_fail" in query.sql
    assert "is_question" not in query.sql.split("WHERE")[1]


async def test_brands_are_those_configured_and_those_seen(
    client: httpx.AsyncClient, store: RecordingStore
) -> None:
    seen = {"mentions": 3, "fails": 2, "questions": 1, "first_mention": NOW, "last_mention": NOW}
    store.rows = [{"name": "Beta", **seen}, {"name": "acme", **seen}]
    brands = (await client.get("/v1/brands")).json()["brands"]
    assert [(b["name"], b["configured"], b["mentions"], b["last_mention"]) for b in brands] == [
        ("acme", True, 3, "2026-03-29T12:00:00Z"),
        ("Beta", False, 3, "2026-03-29T12:00:00Z"),
        ("Zonneveld Zorg", True, 0, None),
    ]


async def test_an_unknown_mention_is_404(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/v1/mentions/{UUID(int=7)}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:klankbord:problem:no-such-mention"
    assert str(UUID(int=7)) in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "url", "status", "detail"),
    [
        ("GET", "/v1/nothing", 404, "There is nothing at /v1/nothing; /docs lists what there is."),
        ("POST", "/v1/mentions", 405, "/v1/mentions does not take POST; it takes GET."),
    ],
)
async def test_other_errors_are_problems_too(
    client: httpx.AsyncClient, method: str, url: str, status: int, detail: str
) -> None:
    response = await client.request(method, url)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() | {"status": status, "detail": detail} == response.json()


@pytest.mark.parametrize(
    "url",
    [
        "/v1/timeseries",
        "/v1/mentions",
        f"/v1/mentions/{UUID(int=1)}",
        "/v1/topics",
        "/v1/spikes",
        "/v1/accuracy",
        "/v1/brands",
    ],
)
async def test_an_outage_is_503_with_retry_after(
    client: httpx.AsyncClient, store: RecordingStore, url: str
) -> None:
    store.outage = True
    response = await client.get(url)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    assert "refused" not in response.text


async def test_probes(client: httpx.AsyncClient, store: RecordingStore) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    store.rows = [{"name": name} for name in TABLES]
    assert (await client.get("/readyz")).status_code == 200
    store.rows = store.rows[:1]
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert "klankbord migrate" in response.json()["waiting_for"]["clickhouse"]
    store.outage = True
    assert (await client.get("/readyz")).json()["waiting_for"] == {"clickhouse": "connection refused"}
    assert (await client.get("/healthz")).status_code == 200


async def test_no_more_queries_wait_than_is_sane() -> None:
    store = Store(Settings(), BRANDS)
    store._waiting = MAX_WAITING
    with pytest.raises(DependencyUnavailable, match="100 queries are waiting"):
        await store.brands()


async def test_every_answer_has_the_safe_headers(client: httpx.AsyncClient) -> None:
    for url in ("/v1/brands", "/v1/nothing", "/v1/timeseries?x=1", "/healthz", "/docs"):
        headers = (await client.get(url)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "referrer-policy" in headers
        assert "access-control-allow-origin" not in headers


async def test_requests_are_counted_by_route_never_by_address(client: httpx.AsyncClient) -> None:
    expected = {
        ("/v1/mentions/{id}", "404"): f"/v1/mentions/{UUID(int=9)}",
        ("/v1/mentions/{id}", "422"): "/v1/mentions/9",
        ("other", "404"): "/wp-login.php",
    }
    for (route, status), url in expected.items():
        before = value_of(API_REQUESTS, route, status)
        await client.get(url)
        assert value_of(API_REQUESTS, route, status) == before + 1
    metrics = (await client.get("/metrics")).text
    assert "wp-login" not in metrics
    assert 'klankbord_api_request_seconds_count{route="/v1/mentions/{id}"}' in metrics
    assert "klankbord_api_requests_in_progress 1.0" in metrics


async def test_docs_need_no_other_host(client: httpx.AsyncClient) -> None:
    for url in ("/docs", "/redoc"):
        page = (await client.get(url)).text
        assert "//cdn" not in page
        assert "/static-offline-docs/" in page
    script = await client.get("/static-offline-docs/swagger-ui-bundle.js")
    assert script.status_code == 200
    assert len(script.content) > 100_000


async def openapi(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


async def test_the_openapi_document_is_whole(client: httpx.AsyncClient) -> None:
    document = await openapi(client)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert set(document["paths"]) == {
        "/v1/timeseries",
        "/v1/mentions",
        "/v1/mentions/{id}",
        "/v1/topics",
        "/v1/spikes",
        "/v1/accuracy",
        "/v1/brands",
        "/v1/dead-letters",
        "/v1/dead-letters/{number}",
    }
    assert set(document["components"]["schemas"]["ValidationError"]["properties"]) == {"field", "reason"}
    for path, methods in document["paths"].items():
        (operation,) = methods.values()
        assert operation["description"], path
        assert {"200", "503"} <= operation["responses"].keys(), path
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert document["components"]["schemas"][answer.rsplit("/", 1)[1]]["examples"], path


async def test_every_path_and_parameter_is_in_the_docs(client: httpx.AsyncClient) -> None:
    sections = DOCS.split("\n## ")
    for path, methods in (await openapi(client))["paths"].items():
        (section,) = [text for text in sections if text.startswith(f"`GET {path}`")]
        for parameter in methods["get"].get("parameters", []):
            assert f"`{parameter['name']}`" in section + sections[1], (path, parameter["name"])
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert f"`{path}`" in DOCS


async def test_the_clock_decides_what_is_recent(store: RecordingStore) -> None:
    clock = ManualClock(NOW)
    transport = httpx.ASGITransport(create_app(Settings(page_timezone="UTC"), store, clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        assert (await client.get("/v1/topics")).json()["to"] == "2026-03-30T00:00:00Z"
        clock.advance(timedelta(hours=12).total_seconds())
        assert (await client.get("/v1/topics")).json()["to"] == "2026-03-31T00:00:00Z"
