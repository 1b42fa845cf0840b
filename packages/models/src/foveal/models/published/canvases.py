"""The canvases of published configurations (`image_grid_pinpoints`), counted in tiles."""

import ast
import re


def canvases(pinpoints: object, size: int, *, source: str) -> list[tuple[int, int]]:
    """Canvases in tiles, from a configuration's list in pixels.

    Args:
        pinpoints: pairs of pixels, a text with such a list, or a range of tiles like `(1x1),...,(6x6)`.
        size: side of a tile in pixels.
        source: named in errors.

    Raises:
        ValueError: if `pinpoints` is none of these, or a side is not a multiple of `size`.
    """
    if isinstance(pinpoints, str):
        if ends := re.fullmatch(
            r"\((\d{1,2})x(\d{1,2})\),?\.\.\.,?\((\d{1,2})x(\d{1,2})\)", pinpoints.replace(" ", "")
        ):
            first, second, last_first, last_second = (int(number) for number in ends.groups())
            return [(i, j) for i in range(first, last_first + 1) for j in range(second, last_second + 1)]
        try:
            pinpoints = ast.literal_eval(pinpoints)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{source}: image_grid_pinpoints {pinpoints!r} is not a list of canvases") from error
    if not isinstance(pinpoints, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(n, int) and n % size == 0 for n in pair)
        for pair in pinpoints
    ):
        raise ValueError(
            f"{source}: image_grid_pinpoints {pinpoints!r} must be pairs of pixels, multiples of the view's {size}"
        )
    return [(first // size, second // size) for first, second in pinpoints]
