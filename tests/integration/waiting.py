"""Waiting on a condition, with a deadline."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import httpx


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    meanwhile: Callable[[], Awaitable[None]],
    seconds: float = 60,
) -> None:
    """Do `meanwhile` again and again until `condition` holds; fail after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {inspect.getsource(condition).strip()}")
        await meanwhile()


async def answers(client: httpx.AsyncClient, path: str) -> bool:
    """Whether `path` is there and says that all is well."""
    try:
        return (await client.get(path)).is_success
    except httpx.TransportError:
        return False
