"""GET /v1/topics: what is talked about."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.api.context import TheContext
from services.api.params import TopicsParams, only
from services.api.responses import Topics

router = APIRouter(tags=["figures"])


@router.get("/v1/topics", dependencies=[Depends(only(TopicsParams))])
async def topics(params: Annotated[TopicsParams, Query()], context: TheContext) -> Topics:
    """Return the topics of a period, most mentioned first, with their #fails and questions.

    A mention counts in each of its topics. With `topic` the answer also has the topics that go together with
    it. Without `from` and `to`: the last 30 days, today included.
    """
    zone = params.zone(context.settings.page_timezone)
    filters = params.recent(context.clock.now(), zone)
    counts = await context.store.topics(filters, params.limit)
    return Topics(
        tz=zone.key,
        from_=filters.start.astimezone(zone),
        to=filters.end.astimezone(zone),
        topics=tuple(counts),
    )
