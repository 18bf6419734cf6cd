"""GET /v1/brands: whom mentions are about."""

from fastapi import APIRouter, Depends

from services.api.context import TheContext
from services.api.params import NoParams, only
from services.api.responses import Brands

router = APIRouter(tags=["figures"])


@router.get("/v1/brands", dependencies=[Depends(only(NoParams))])
async def brands(context: TheContext) -> Brands:
    """Return the brands of klankbord.toml and those seen in the data, by name, over all time."""
    return Brands(brands=tuple(await context.store.brands()))
