"""POST /v1/mentions/{id}/corrections: a person says what the labels of a mention should be."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.config import JsonDict
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from services.ingest.bodies import JSON_TYPE, body_kind, read_whole
from services.ingest.intake import MentionPublisher
from shared.correction_events import By, CorrectedLabel, Value, checked

MAX_BODY_BYTES = 16_384
_EXAMPLE: JsonDict = {
    "by": "Noor, recruitment",
    "labels": {"sentiment": "negative", "fail": True, "stage": "silence"},
}


class CorrectionsIn(BaseModel):
    """What is right about a mention."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    by: By = Field(description="Who says so: a name or a role, as the organisation likes.")
    labels: Annotated[dict[CorrectedLabel, Value], Field(min_length=1)] = Field(
        description="By label what is right; also where the model is right already, which counts for its "
        "accuracy. null takes a correction back."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _fit(cls, labels: object) -> object:
        """Check each value by its label; a label that is not known is left to the schema."""
        if not isinstance(labels, dict):
            return labels
        known = set(CorrectedLabel)
        return {k: checked(CorrectedLabel(k), v) if k in known else v for k, v in labels.items()}


class CorrectionsOut(BaseModel):
    """How many corrections Kafka has acknowledged."""

    accepted: int


def corrections_router(publisher: MentionPublisher) -> APIRouter:
    """Return the route that takes corrections."""
    router = APIRouter(tags=["corrections"])

    @router.post(
        "/v1/mentions/{id}/corrections",
        status_code=202,
        response_model=CorrectionsOut,
        summary="Correct the labels of a mention",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {JSON_TYPE: {"schema": _schema()}},
            }
        },
    )
    async def post_corrections(
        id: Annotated[UUID, Path(description="The mention's id, as GET /v1/mentions gives it.")],
        request: Request,
    ) -> CorrectionsOut | Response:
        """Take what a person says the labels of a mention should be.

        From then on it wins over the model in every count and list, whatever is replayed or labelled anew;
        the mention itself may still have to come. 202 comes after Kafka has acknowledged.
        """
        try:
            corrections = await _read(request)
        except ClientDisconnect:
            return Response(status_code=400)
        await publisher.correct(id, corrections.labels, corrections.by)
        return CorrectionsOut(accepted=len(corrections.labels))

    return router


def _schema() -> dict[str, Any]:
    """Return the schema of the body in one piece: the framework does not know of it."""
    schema = CorrectionsIn.model_json_schema()
    del schema["$defs"]
    schema["properties"]["labels"]["propertyNames"] = {"enum": [label.value for label in CorrectedLabel]}
    return schema


async def _read(request: Request) -> CorrectionsIn:
    """Return the body, checked. By hand: the framework would read one of any size."""
    kind = body_kind(request.headers, types=(JSON_TYPE,))
    detail = f"Corrections of one mention may be {MAX_BODY_BYTES:,} bytes."
    body = await read_whole(request, MAX_BODY_BYTES, detail, gzipped=kind.gzipped)
    try:
        return CorrectionsIn.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in errors]) from None
