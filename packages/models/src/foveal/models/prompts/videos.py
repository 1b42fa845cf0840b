"""Videos in conversations: one `<image>` for all frames, or every frame a picture of its own with its own `<image>`."""

from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from foveal.core import Size
from foveal.models.prompts.templates import PLACEHOLDER, Turn
from foveal.models.views.any_picture import rgb_of
from foveal.models.views.company import frame_sizes
from foveal.models.views.cut_views import Shown
from foveal.models.views.draft import Draft
from foveal.models.views.video import Video


def framed(
    pictures: Sequence[Image | Draft | Video], turns: Sequence[Turn], *, whole: bool
) -> tuple[Sequence[Shown], list[Size], Sequence[Turn]]:
    """The pictures and videos as they are cut, their sizes, and the turns with one `<image>` for each of them.

    Args:
        pictures: in the order of their `<image>`; a video has one.
        turns: the conversation.
        whole: a video stays one, for plans with `frames`; otherwise each of its frames is cut as a picture of its own.

    Raises:
        ValueError: if a picture is not RGB, or as for `sizes_as_cut`.
        BadImageError: as for `rgb_of`, for a frame.
    """
    read = [tuple(map(rgb_of, each.frames)) if isinstance(each, Video) else each for each in pictures]
    every = [frame for each in read for frame in (each if isinstance(each, tuple) else (each,))]
    if odd := {picture.mode for picture in every} - {"RGB"}:
        raise ValueError(f"a picture has mode {min(odd)}, expected RGB: open it with read_image")
    measured = [
        [Size.of(frame.size) for frame in each] if isinstance(each, tuple) else Size.of(each.size) for each in read
    ]
    sizes, turns = sizes_as_cut(measured, turns, whole=whole)
    return (read if whole else every), sizes, turns


def sizes_as_cut(
    sizes: Sequence[Size | list[Size]], turns: Sequence[Turn], *, whole: bool
) -> tuple[list[Size], Sequence[Turn]]:
    """The sizes of pictures and videos as they are cut, and the turns with one `<image>` for each of them.

    Args:
        sizes: of a picture; of a video, a list with those of its frames.
        turns: as for `framed`.
        whole: see there.

    Raises:
        ValueError: if a video that stays one has frames of several sizes; or if every frame is a picture of its own,
            and the turns do not have one `<image>` for each picture and video.
    """
    cut: list[Size] = []
    numbers = []
    for size in sizes:
        own = [size] if isinstance(size, Size) else [_only(size)] if whole else frame_sizes(size)
        cut += own
        numbers.append(len(own))
    if len(cut) == len(sizes):
        return cut, turns
    placed = sum(turn.text.count(PLACEHOLDER) for turn in turns)
    if placed != len(sizes):
        raise ValueError(
            f"{placed} {PLACEHOLDER} in the text, {len(sizes)} pictures and videos: there must be one for each"
        )
    rest, spread = iter(numbers), []
    for turn in turns:
        first, *others = turn.text.split(PLACEHOLDER)
        spread.append(replace(turn, text=first + "".join(PLACEHOLDER * next(rest) + other for other in others)))
    return cut, spread


def _only(sizes: Sequence[Size]) -> Size:
    """The size of a video's frames."""
    if len(set(sizes)) > 1:
        found = ", ".join(map(str, sorted(set(sizes))))
        raise ValueError(f"the frames of a video have sizes {found}: they must have one, so resize them before")
    return sizes[0]
