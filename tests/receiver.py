"""A web server that takes what is posted to it, and keeps it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.telemetry import QuietServer, listen


@asynccontextmanager
async def receiver(path: str) -> AsyncIterator[tuple[str, list[Any]]]:
    """Yield the server's address, without `path`, and what came there: the bodies, read as JSON."""
    taken: list[Any] = []

    async def take(request: Request) -> JSONResponse:
        taken.append(await request.json())
        return JSONResponse({})

    app = Starlette(routes=[Route(path, take, methods=["POST"])])
    with listen("127.0.0.1", 0) as listener:
        server = QuietServer(uvicorn.Config(app, log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", taken
        server.should_exit = True
        await task
