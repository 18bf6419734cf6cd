"""What /docs says about POST /v1/mentions: examples, and the schemas that FastAPI cannot derive."""

from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from rfc9457.openapi import problem_response

from shared.events import Mention, RejectionCode
from shared.problems import TYPE_BASE

DESCRIPTION = """Takes mentions (what is said about an employer, its vacancies and its application
process) and puts them on Kafka, where they are labelled and counted. Errors are problem+json (RFC 9457)."""

_MENTION = {
    "source": "linkedin",
    "external_id": "urn:li:comment:7012",
    "brand": "Zonneveld Zorg",
    "author": {"name": "Sanne", "handle": "@sanne"},
    "text": "Al drie weken niks gehoord na mijn sollicitatie bij Zonneveld. Komt er nog antwoord? #fail",
    "url": "https://www.linkedin.com/feed/update/urn:li:comment:7012",
    "language_hint": "nl",
    "published_at": "2026-11-02T09:30:00+01:00",
    "kind": "comment",
}
_REVIEW = {
    "source": "google-reviews",
    "external_id": "r-88",
    "text": "Quick reply and a friendly interview.",
    "published_at": "2026-11-03T18:05:00Z",
    "kind": "review",
    "rating": 5,
}
_SCHEMA = {"$ref": "#/components/schemas/Mention"}
_REJECTED = {
    "index": 1,
    "field": "published_at",
    "code": "missing",
    "reason": "is required",
}


class Rejected(BaseModel):
    """A mention that was refused, and why. It has an index (object, array) or a line (NDJSON)."""

    index: int | None = Field(None, description="Place in the array, from 0; 0 for a single object.")
    line: int | None = Field(None, description="Line of the NDJSON, from 1; blank lines count.")
    field: str = Field(description="The field that is wrong (author.name); empty: the mention as a whole.")
    code: RejectionCode
    reason: str = Field(description="What is wrong with it, for a person.")


class Accepted(BaseModel):
    """What came of a request."""

    accepted: int = Field(description="How many mentions Kafka has acknowledged.")
    rejected: list[Rejected]
    ids: list[UUID] | None = Field(
        None, description="Ids of those accepted, in their order; not for NDJSON, where there may be many."
    )


_ACCEPTED = {"accepted": 1, "rejected": [_REJECTED], "ids": ["b3c1c2a4-6e2d-5d0e-9f0b-1d6a8a0e7c55"]}

MENTIONS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [_SCHEMA, {"type": "array", "items": _SCHEMA, "minItems": 1}]},
                "examples": {
                    "one": {"summary": "One mention", "value": _MENTION},
                    "several": {"summary": "Several mentions", "value": [_MENTION, _REVIEW]},
                },
            },
            "application/x-ndjson": {
                "schema": {
                    "type": "string",
                    "description": "One JSON object a line, each a Mention. Also taken as application/ndjson "
                    "and application/jsonl. It is streamed: by default at most 100,000 lines a request.",
                },
            },
        },
    }
}


def _documented(status: int, slug: str, title: str, detail: str, **more: Any) -> dict[str, Any]:
    example = {"type": TYPE_BASE + slug, "title": title, "status": status, "detail": detail, **more}
    response: dict[str, Any] = problem_response(title, [example])
    if status == 503:
        response["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
    return response


MENTIONS_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Accepted,
        "description": "Kafka has acknowledged all that were accepted",
        "content": {"application/json": {"example": _ACCEPTED}},
    },
    408: _documented(408, "too-slow", "The request took too long", "The body came too slowly: ..."),
    413: _documented(
        413,
        "too-large",
        "The request is too large",
        "A request may have 100,000 lines; this one has more. Up to line 100,000 all is done: 100,000 "
        "accepted and acknowledged, 0 refused. Go on at line 100,001; sending all again is harmless too.",
        accepted=100_000,
        next_line=100_001,
        errors=[],
    ),
    415: _documented(
        415,
        "unsupported-body",
        "The body is not written in a way that is taken",
        "Content-Type is 'text/plain'; taken are application/json, application/x-ndjson, ...",
    ),
    422: _documented(
        422,
        "no-mention-accepted",
        "No mention was accepted",
        "It is refused. The first (index 0): published_at is required.",
        errors=[_REJECTED | {"index": 0}],
    ),
    503: _documented(
        503,
        "unavailable",
        "Kafka is not available right now",
        "Kafka does not acknowledge; send it again in a few seconds, which never counts twice.",
    ),
}


def with_mention_schema(app: FastAPI) -> None:
    """Complete the schemas of `app`: the Mention that MENTIONS_BODY refers to, and a problem's errors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _, schemas = models_json_schema(
            [(Mention, "validation")], ref_template="#/components/schemas/{model}"
        )
        document["components"]["schemas"].update(schemas["$defs"])
        # The name under which the framework refers to one of a problem's `errors`.
        document["components"]["schemas"]["ValidationError"] = {"$ref": "#/components/schemas/Rejected"}
        return document

    app.openapi = openapi  # type: ignore[method-assign]
