"""The bytes of a request's pictures: written out as `data:` URLs, or fetched from hosts that were allowed."""

from recipes.reading.pictures import MAX_BYTES, written_out
from recipes.serving.errors import RefusedError
from recipes.serving.fetching import Fetcher
from recipes.serving.prompts import PictureUrl


async def picture_bytes(picture: PictureUrl, fetcher: Fetcher) -> bytes:
    """The encoded picture.

    Raises:
        RefusedError: if it is no `data:` URL of base64 and its host was not allowed, it cannot be fetched, or it has
            more than `MAX_BYTES`.
    """
    if not picture.url.startswith("data:"):
        return await fetcher.fetch(picture.url, picture.param, MAX_BYTES)
    try:
        return written_out(picture.url, picture.param, "make it smaller")
    except ValueError as error:
        raise RefusedError(400, str(error), param=picture.param, code="invalid_image") from error
