"""The part of a picture around a box."""

from PIL.Image import Image

from foveal.core import Box

MARGIN = 1.5
"""Width of the margin around a box, in heights of the box: about a line of text on each side of a line."""


def around(box: Box, picture: Image) -> Image:
    """The box with a margin, in whole pixels of the picture; not beyond the picture.

    Args:
        box: inside of the picture.
        picture: the whole.
    """
    margin = MARGIN * box.height
    left, top = max(int(box.left - margin), 0), max(int(box.top - margin), 0)
    right, bottom = min(int(box.right + margin) + 1, picture.width), min(int(box.bottom + margin) + 1, picture.height)
    return picture.crop((left, top, right, bottom))
