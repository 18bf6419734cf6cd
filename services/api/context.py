"""What the routes need, given to the application when it is made."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from services.api.queries import Store
from shared.clock import Clock
from shared.settings import Settings


@dataclass(frozen=True)
class Context:
    """The settings, the store and the clock of one application."""

    settings: Settings
    store: Store
    clock: Clock


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


TheContext = Annotated[Context, Depends(_context)]
