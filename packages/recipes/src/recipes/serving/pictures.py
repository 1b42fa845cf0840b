"""The bytes of a request's pictures: written out as `data:` URLs, or fetched from hosts that were allowed."""

import asyncio
from collections.abc import Sequence

from recipes.reading.pictures import MAX_BYTES, written_out
from recipes.serving.errors import RefusedError
from recipes.serving.fetching import Fetcher
from recipes.serving.prompts import PictureUrl

MAX_FETCHED = 64_000_000
"""Bytes that are fetched for one request: as many as it may bring itself."""
MAX_SECONDS = 30.0
"""Seconds that fetching the pictures of one request may take."""


async def all_picture_bytes(pictures: Sequence[PictureUrl], fetcher: Fetcher) -> list[tuple[bytes, str]]:
    """The encoded pictures of a request, each with the part that has it.

    Args:
        pictures: their number is checked.
        fetcher: fetches pictures.

    Raises:
        RefusedError: as for `picture_bytes`, or if more than `MAX_FETCHED` bytes are fetched, or for more than
            `MAX_SECONDS`.
    """
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await _all_bytes(pictures, fetcher)
    except TimeoutError as error:
        message = f"fetching the pictures took more than {MAX_SECONDS:g} s: give fewer, or give them as data: URLs"
        raise RefusedError(400, message, code="invalid_image_url") from error


async def _all_bytes(pictures: Sequence[PictureUrl], fetcher: Fetcher) -> list[tuple[bytes, str]]:
    left = MAX_FETCHED
    found: list[tuple[bytes, str]] = []
    for picture in pictures:
        data = await picture_bytes(picture, fetcher, left)
        if not _is_written_out(picture):
            left -= len(data)
        found.append((data, picture.param))
    return found


async def picture_bytes(picture: PictureUrl, fetcher: Fetcher, left: int = MAX_FETCHED) -> bytes:
    """The encoded picture.

    Args:
        picture: where it is.
        fetcher: fetches it, if it is not written out.
        left: bytes that may still be fetched for the request.

    Raises:
        RefusedError: if it is no `data:` URL of base64 and its host was not allowed, it cannot be fetched, or it has
            more than `MAX_BYTES`, or than is left.
    """
    if not _is_written_out(picture):
        if left < MAX_BYTES:
            advice = f"{MAX_FETCHED // 10**6} MB are fetched for a request at most, give fewer or smaller ones"
            return await fetcher.fetch(picture.url, picture.param, left, advice)
        return await fetcher.fetch(picture.url, picture.param, MAX_BYTES)
    try:
        return written_out(picture.url, picture.param, "make it smaller")
    except ValueError as error:
        raise RefusedError(400, str(error), param=picture.param, code="invalid_image") from error


def _is_written_out(picture: PictureUrl) -> bool:
    return picture.url.startswith("data:")
