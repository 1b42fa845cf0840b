"""The bytes of a request's pictures: written out as `data:` URLs, or fetched from hosts that were allowed."""

import base64
import binascii
import re

from recipes.reading.pictures import MAX_BYTES
from recipes.serving.errors import RefusedError
from recipes.serving.fetching import Fetcher
from recipes.serving.prompts import PictureUrl

DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")
SHOWN = 60
"""Characters of a URL that a message repeats."""


async def picture_bytes(picture: PictureUrl, fetcher: Fetcher) -> bytes:
    """The encoded picture.

    Raises:
        RefusedError: if it is no `data:` URL of base64 and its host was not allowed, it cannot be fetched, or it has
            more than `MAX_BYTES`.
    """
    if not picture.url.startswith("data:"):
        return await fetcher.fetch(picture.url, picture.param, MAX_BYTES)
    begin = DATA_URL.match(picture.url)
    if begin is None:
        raise _bad(picture, f"{picture.url[:SHOWN]!r} is not understood, expected data:image/png;base64, or the like")
    if (len(picture.url) - begin.end()) * 3 // 4 > MAX_BYTES + 2:
        raise _bad(picture, f"a picture of more than {MAX_BYTES // 10**6} MB: make it smaller")
    try:
        return base64.b64decode(picture.url[begin.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(picture, f"the picture is not base64 ({error})") from error


def _bad(picture: PictureUrl, message: str) -> RefusedError:
    return RefusedError(400, f"{picture.param}: {message}", param=picture.param, code="invalid_image")
