"""GET /v1/mentions and /v1/mentions/{id}: the mentions themselves, newest first."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from services.api.context import TheContext
from services.api.cursor import encode_cursor
from services.api.params import MentionsParams, NoParams, only
from services.api.responses import MentionOut, Mentions
from shared.problems import problem

router = APIRouter(tags=["mentions"])
LINK: dict[str, Any] = {
    "Link": {"description": 'The next page: <...>; rel="next".', "schema": {"type": "string"}}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {
        "description": "There is no mention with this id.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


@router.get("/v1/mentions", dependencies=[Depends(only(MentionsParams))], responses={200: {"headers": LINK}})
async def mentions(
    params: Annotated[MentionsParams, Query()], context: TheContext, request: Request, response: Response
) -> Mentions:
    """Return mentions, newest first, a page at a time.

    Without `from` and `to`: of all time. Follow the Link header, or give `next_cursor` as `cursor`; what
    arrives meanwhile neither shifts nor repeats the pages that follow.
    """
    filters = params.ever(params.zone(context.settings.page_timezone))
    page = await context.store.mentions(filters, params.limit, params.after(filters))
    next_cursor = encode_cursor(page.next, filters) if page.next else None
    if next_cursor:
        target = request.url.include_query_params(cursor=next_cursor)
        response.headers["link"] = f'<{target.path}?{target.query}>; rel="next"'
    return Mentions(mentions=page.items, next_cursor=next_cursor)


@router.get("/v1/mentions/{id}", dependencies=[Depends(only(NoParams))], responses=NOT_FOUND)
async def mention(
    id: Annotated[UUID, Path(description="Its id, as /v1/mentions gives it.")], context: TheContext
) -> MentionOut:
    """Return one mention."""
    found = await context.store.mention(id)
    if found is None:
        raise problem(404, "no-such-mention", "There is no such mention", f"No mention has the id {id}.")
    return found
