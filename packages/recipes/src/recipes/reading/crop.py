"""The part of a picture around a box."""

from math import ceil, floor

from PIL.Image import Image

from foveal.core import Box

MARGIN = 1.5
"""Width of the margin around a box, in heights of the box: about a line of text on each side of a line."""


def around(box: Box, picture: Image) -> Image:
    """The box with a margin, in whole pixels of the picture; not beyond the picture.

    Args:
        box: inside of the picture, with an area.
        picture: the whole.
    """
    margin = MARGIN * box.height
    left, top = max(floor(box.left - margin), 0), max(floor(box.top - margin), 0)
    right, bottom = min(ceil(box.right + margin), picture.width), min(ceil(box.bottom + margin), picture.height)
    return picture.crop((left, top, right, bottom))
