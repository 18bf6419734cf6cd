"""POST /v1/mentions/{id}/corrections without Kafka: what is taken, what is refused, and how that is said."""

import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.ingest.corrections import MAX_BODY_BYTES
from shared.settings import Settings
from tests.unit.ingest.test_http import Door

ID = UUID("5d0b8b5e-5c1c-5a3c-9a53-0c7f6a1d6f0e")


async def post(door: Door, body: Any, name: str = str(ID), **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await door.client.post(f"/v1/mentions/{name}/corrections", content=content, headers=headers)


async def test_corrections_are_published_by_label() -> None:
    door = Door(Settings())
    labels = {"sentiment": "negative", "fail": True, "topics": ["salary"], "stage": None}
    response = await post(door, {"by": " Noor ", "labels": labels})
    assert (response.status_code, response.json()) == (202, {"accepted": 4})
    assert door.publisher.corrected == [
        (ID, {"sentiment": "negative", "fail": True, "topics": ("salary",), "stage": None}, "Noor")
    ]


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"by": "x", "labels": {"sentiment": "sad"}}, "labels", "'negative', 'neutral' or 'positive'"),
        ({"by": "x", "labels": {"fail": "yes"}}, "labels", "fail: input should be a valid boolean"),
        ({"by": "x", "labels": {"mood": "x"}}, "labels.mood.[key]", "'sentiment', 'fail'"),
        ({"by": "x", "labels": {"topics": ["a"] * 21}}, "labels", "at most 20"),
        ({"by": "x", "labels": {}}, "labels", "at least 1"),
        ({"labels": {"fail": True}}, "by", "required"),
        ({"by": "x", "labels": {"fail": True}, "note": "n"}, "note", "not permitted"),
        (b"{", "body", "JSON"),
    ],
)
async def test_what_is_wrong_is_named(body: Any, field: str, reason: str) -> None:
    door = Door(Settings())
    response = await post(door, body)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert reason in error["reason"]
    assert door.publisher.corrected == []


async def test_other_ids_bodies_and_outages_are_refused() -> None:
    door = Door(Settings())
    good = {"by": "x", "labels": {"fail": True}}
    assert (await post(door, good, name="7")).status_code == 422
    assert (await post(door, good, **{"content-type": "text/plain"})).status_code == 415
    assert (await post(door, b" " * (MAX_BODY_BYTES + 1))).status_code == 413
    door.publisher.fail_after = 0
    outage = await post(door, good)
    assert (outage.status_code, outage.headers["retry-after"]) == (503, "5")
