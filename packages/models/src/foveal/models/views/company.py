"""What a plan may need to know of a picture besides its size: others in the prompt, or the video that it is a frame of.

Each is a `Size` that goes wherever the picture's size goes: to the plan, to the count of tokens, with the batch to the
merge.
"""

from collections.abc import Sequence

from foveal.core import Size


class Beside(Size):
    """The size of a picture that is not the only one in its prompt."""

    __slots__ = ()


class Frame(Size):
    """The size of a frame of a video."""

    __slots__ = ()


class LastFrame(Frame):
    """The size of a video's last frame."""

    __slots__ = ()


def frame_sizes(sizes: Sequence[Size]) -> list[Size]:
    """The sizes of a video's frames, marked as such."""
    return [*(Frame(*size) for size in sizes[:-1]), LastFrame(*sizes[-1])]
