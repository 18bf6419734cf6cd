"""GET /v1/spikes: #fails far above or below what is usual, and sources that fell silent."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.api.context import TheContext
from services.api.cursor import encode_cursor
from services.api.params import SpikesParams, only
from services.api.responses import Spikes
from services.api.routes.mentions import LINK

router = APIRouter(tags=["figures"])


@router.get("/v1/spikes", dependencies=[Depends(only(SpikesParams))], responses={200: {"headers": LINK}})
async def spikes(
    params: Annotated[SpikesParams, Query()], context: TheContext, request: Request, response: Response
) -> Spikes:
    """Return what was on at some time of a period, newest first, a page at a time.

    Without `from` and `to`: of all time. A silent source has no brand. Follow the Link header, or give
    `next_cursor` as `cursor`.
    """
    filters = params.filters(params.zone(context.settings.page_timezone))
    page = await context.store.spikes(filters, params.limit, params.after(filters))
    next_cursor = encode_cursor(page.next, filters) if page.next else None
    if next_cursor:
        target = request.url.include_query_params(cursor=next_cursor)
        response.headers["link"] = f'<{target.path}?{target.query}>; rel="next"'
    return Spikes(spikes=page.items, next_cursor=next_cursor)
