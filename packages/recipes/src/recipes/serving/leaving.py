"""Clients that leave before they are answered."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

T = TypeVar("T")
LEFT = 499
"""The status that nobody reads any more."""


async def unless_gone(request: Request, result: Awaitable[T]) -> T | None:
    """A result that is waited for; None if the client leaves first, the result is cancelled then.

    Args:
        request: the client's; its body has been read.
        result: what the client waits for.
    """
    wanted, gone = asyncio.ensure_future(result), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((wanted, gone), return_when=asyncio.FIRST_COMPLETED)
        return wanted.result() if wanted.done() else None
    finally:
        wanted.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
