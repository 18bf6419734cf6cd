"""GET /v1/accuracy: how often people who corrected labels agreed with the model."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.api.context import TheContext
from services.api.params import AccuracyParams, only
from services.api.responses import Accuracy

router = APIRouter(tags=["figures"])


@router.get("/v1/accuracy", dependencies=[Depends(only(AccuracyParams))])
async def accuracy(params: Annotated[AccuracyParams, Query()], context: TheContext) -> Accuracy:
    """Return, by month and label, how many labels people checked and in how many the model was right.

    Without `from` and `to`: of all time. People correct where they see a mistake, so the share is lower than
    the accuracy of all labels, unless they confirm what is right as well (docs/corrections.md).
    """
    zone = params.zone(context.settings.page_timezone)
    return Accuracy(tz=zone.key, months=tuple(await context.store.accuracy(params.filters(zone), zone.key)))
