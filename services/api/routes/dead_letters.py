"""GET /v1/dead-letters: what could not be processed, read-only. `klankbord dead replay` sends it again."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from services.api.context import TheContext
from services.api.params import DeadLettersParams, NoParams, only
from services.api.responses import DeadLetterDetail, DeadLetters, DeadLetterSummary
from shared.dead_letter_box import DeadLetterBox
from shared.problems import problem

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {
        "description": "There is no dead letter with this number.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
router = APIRouter(tags=["operations"])
Number = Annotated[int, Path(ge=0, le=2**62, description="Its number in the list.")]


@router.get("/v1/dead-letters", dependencies=[Depends(only(DeadLettersParams))])
async def dead_letters(params: Annotated[DeadLettersParams, Query()], context: TheContext) -> DeadLetters:
    """Return messages that were put aside, newest first, a page at a time (`next_below` as `below`)."""
    box = DeadLetterBox(context.settings, context.clock)
    page = await box.page(params.wanted(), params.limit, params.below)
    summaries = [DeadLetterSummary.of(one, sent_again=one.number in page.replayed) for one in page.letters]
    return DeadLetters(dead_letters=tuple(summaries), next_below=page.next)


@router.get("/v1/dead-letters/{number}", dependencies=[Depends(only(NoParams))], responses=NOT_FOUND)
async def dead_letter(number: Number, context: TheContext) -> DeadLetterDetail:
    """Return one of them with the beginning of its bytes, as text and as base64."""
    found = await DeadLetterBox(context.settings, context.clock).letter(number)
    if found is None:
        raise problem(
            404,
            "no-such-dead-letter",
            "There is no such dead letter",
            f"There is no dead letter {number} (any more).",
        )
    letter, sent_again = found
    return DeadLetterDetail.detail_of(letter, sent_again=sent_again)
