"""GET /v1/timeseries: a measure over time."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.api.buckets import TooManyPoints
from services.api.context import TheContext
from services.api.params import TimeseriesParams, only, wrong
from services.api.responses import Timeseries

router = APIRouter(tags=["figures"])


@router.get("/v1/timeseries", dependencies=[Depends(only(TimeseriesParams))])
async def timeseries(params: Annotated[TimeseriesParams, Query()], context: TheContext) -> Timeseries:
    """Return a measure per hour, day, week or month in a time zone.

    A local day is a local day: 23 or 25 hours long when the clocks change. Every bucket of the period is
    there. The first one starts at the beginning of the interval that holds `from`, which may lie before it;
    only mentions from `from` on are counted. Without `from` and `to`: the last 30 days, today included.
    With `group_by=topic` a mention counts in each of its topics (in those of `topic` when given).
    """
    zone = params.zone(context.settings.page_timezone)
    filters = params.recent(context.clock.now(), zone)
    group_by = tuple(dict.fromkeys(params.group_by))
    try:
        series = await context.store.timeseries(params.metric, params.interval, zone.key, filters, group_by)
    except TooManyPoints as error:
        raise wrong("interval", str(error)) from None
    return Timeseries(
        metric=params.metric,
        interval=params.interval,
        tz=zone.key,
        from_=filters.start.astimezone(zone),
        to=filters.end.astimezone(zone),
        series=tuple(series),
    )
