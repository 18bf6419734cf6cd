"""Errors over HTTP, as RFC 9457 problem+json, the same in ingest and api.

A problem has type, title, status, detail and, for wrong input, `errors`: [{"field", "reason"}].
No stack trace and no internal message reaches a user; what happened is in the log.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import Problem
from fastapi_problem.handler import ExceptionHandler, add_exception_handler, new_exception_handler
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shared.errors import DependencyUnavailable

log = structlog.get_logger()
TYPE_BASE = "urn:klankbord:problem:"
RETRY_AFTER_SECONDS = 5
_ONE_ERROR = {
    "title": "ValidationError",
    "type": "object",
    "required": ["field", "reason"],
    "properties": {
        "field": {"type": "string", "description": "The parameter or field that is wrong."},
        "reason": {"type": "string", "description": "Why, and what is taken instead."},
    },
}


def problem(  # noqa: PLR0913
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> Problem:
    """Return a problem to raise; `slug` names its kind, `errors` say which input is wrong."""
    if errors is not None:
        extra["errors"] = list(errors)
    return Problem(title, type_=TYPE_BASE + slug, detail=detail, status=status, headers=headers, **extra)


def unavailable(what: str, detail: str, retry_after: int = RETRY_AFTER_SECONDS) -> Problem:
    """Return a 503 that says what does not answer and when to come back."""
    title = f"{what} is not available right now"
    return problem(503, "unavailable", title, detail, headers={"retry-after": str(retry_after)})


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem+json response."""
    handler = new_exception_handler(
        handlers={DependencyUnavailable: _on_outage, Exception: _on_surprise},
        http_exception_handler=_on_wrong_address,
        request_validation_handler=_on_wrong_request,
    )
    # Wrong parameters first, then outages, and whatever is left last.
    handler.handlers[Exception] = handler.handlers.pop(Exception)
    add_exception_handler(app, handler, generic_swagger_defaults=False)
    app.add_exception_handler(DependencyUnavailable, handler)
    _document_errors(app)


def _document_errors(app: FastAPI) -> None:
    """Let the OpenAPI document show `errors` as they are: the framework's own look different."""
    framework_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        document = framework_openapi()
        schemas = document.get("components", {}).get("schemas", {})
        if "ValidationError" in schemas:
            schemas["ValidationError"] = _ONE_ERROR
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _on_wrong_request(_handler: ExceptionHandler, _request: Request, exc: RequestValidationError) -> Problem:
    errors = [
        {"field": _field(error["loc"]), "reason": error["msg"].removeprefix("Value error, ")}
        for error in exc.errors()
    ]
    names = ", ".join(dict.fromkeys(error["field"] for error in errors))
    return problem(422, "invalid-request", "The request is not valid", f"Wrong: {names}.", errors=errors)


def _on_wrong_address(_handler: ExceptionHandler, request: Request, exc: HTTPException) -> Problem:
    headers = dict(exc.headers or {})
    path = request.url.path[:200]
    match exc.status_code:
        case 404:
            detail = f"There is nothing at {path}; /docs lists what there is."
            return problem(404, "not-found", "There is nothing here", detail, headers=headers)
        case 405:
            taken = headers.get("Allow") or headers.get("allow") or "other methods"
            detail = f"{path} does not take {request.method[:20]}; it takes {taken}."
            return problem(405, "wrong-method", "This method is not taken here", detail, headers=headers)
    return problem(exc.status_code, "http-error", str(exc.detail), str(exc.detail), headers=headers)


def _field(location: Sequence[str | int]) -> str:
    """("query", "interval") -> "interval"; ("body",) -> "body"."""
    return ".".join(str(part) for part in (location[1:] or location))


def _on_outage(_handler: ExceptionHandler, _request: Request, exc: DependencyUnavailable) -> Problem:
    log.warning("dependency_unavailable", dependency=exc.dependency, reason=exc.reason)
    return unavailable(exc.dependency, f"{exc.dependency} does not answer; try again in a few seconds.")


def _on_surprise(_handler: ExceptionHandler, request: Request, exc: Exception) -> Problem:
    if isinstance(exc, Problem):
        return exc
    log.error("unhandled_exception", path=request.url.path, exc_info=exc)
    return problem(500, "internal", "Something went wrong on our side", "It is in the log; try again later.")
