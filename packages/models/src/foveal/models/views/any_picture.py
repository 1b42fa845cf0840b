"""Pictures as people have them in Python, as upright RGB."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL.Image import Image

from foveal.models.views.draft import Draft
from foveal.models.views.read_image import MAX_SIDE, BadImageError, read_image, upright_rgb

Picture = str | Path | bytes | Image | Draft | np.ndarray[Any, Any]
"""A file, its bytes, an image of Pillow in any mode, or an array."""
GIVEN = "the given picture"


def rgb_of(picture: Picture) -> Image | Draft:
    """A picture as upright RGB; what was given stays as it is.

    Args:
        picture: a file or its bytes, as for `read_image`; an image of Pillow in any mode; or an array, [height, width],
            [height, width, 1], [height, width, 3] (RGB) or [height, width, 4] (RGBA, put on white): uint8 in 0..255,
            uint16 in 0..65535 (one channel), bool, or floating point in 0..1.

    Raises:
        BadImageError: as for `read_image`, or if an array has another shape, dtype or range.
        TypeError: if it is something else.
    """
    if isinstance(picture, str | Path | bytes):
        return read_image(picture)
    if isinstance(picture, Draft):
        return picture
    if isinstance(picture, np.ndarray):
        return upright_rgb(_of_array(picture), GIVEN)
    if isinstance(picture, Image):
        return upright_rgb(picture.copy(), GIVEN)
    raise TypeError(f"a picture is a file, bytes, an image of Pillow or an array, not {type(picture).__name__}")


def _of_array(array: np.ndarray[Any, Any]) -> Image:
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if flat.ndim not in (2, 3) or (flat.ndim == 3 and flat.shape[2] not in (3, 4)) or not flat.size:
        raise BadImageError(
            f"an array of shape {list(array.shape)} is no picture: give [height, width] or [height, width, 3 or 4]"
        )
    if max(flat.shape[:2]) > MAX_SIDE:
        raise BadImageError(f"an array of shape {list(array.shape)} has a side longer than the limit of {MAX_SIDE}")
    if flat.dtype == np.uint16 and flat.ndim == 2:
        return Pillow.fromarray((flat * (255 / 65_535)).round().astype(np.uint8))
    if np.issubdtype(flat.dtype, np.floating):
        if not (flat.min() >= 0 and flat.max() <= 1):  # also if it is not a number
            raise BadImageError(f"an array of {flat.dtype} must be in 0..1, not {flat.min():g}..{flat.max():g}")
        flat = (flat * 255).round().astype(np.uint8)
    elif flat.dtype == np.bool_:
        flat = flat.astype(np.uint8) * np.uint8(255)
    if flat.dtype != np.uint8:
        raise BadImageError(f"an array of {array.dtype} and shape {list(array.shape)} is no picture: give uint8")
    return Pillow.fromarray(np.ascontiguousarray(flat))
