"""Videos in conversations: every frame becomes a picture of its own, with its own `<image>`."""

from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from foveal.core import Size
from foveal.models.prompts.templates import PLACEHOLDER, Turn
from foveal.models.views.any_picture import rgb_of
from foveal.models.views.company import frame_sizes
from foveal.models.views.draft import Draft
from foveal.models.views.video import Video


def framed(
    pictures: Sequence[Image | Draft | Video], turns: Sequence[Turn]
) -> tuple[list[Image | Draft], list[Size], Sequence[Turn]]:
    """The pictures and frames one after the other, their sizes, and the turns with one `<image>` for each of them.

    Args:
        pictures: in the order of their `<image>`; a video has one.
        turns: the conversation.

    Raises:
        ValueError: if there is a video, and the turns do not have one `<image>` for each picture and video.
        BadImageError: as for `rgb_of`, for a frame.
    """
    flat: list[Image | Draft] = []
    sizes: list[Size] = []
    marks = []
    for picture in pictures:
        frames = [rgb_of(frame) for frame in picture.frames] if isinstance(picture, Video) else [picture]
        measured = [Size.of(frame.size) for frame in frames]
        flat += frames
        sizes += frame_sizes(measured) if isinstance(picture, Video) else measured
        marks.append(PLACEHOLDER * len(frames))
    if len(flat) == len(pictures):
        return flat, sizes, turns
    placed = sum(turn.text.count(PLACEHOLDER) for turn in turns)
    if placed != len(pictures):
        raise ValueError(
            f"{placed} {PLACEHOLDER} in the text, {len(pictures)} pictures and videos: there must be one for each"
        )
    rest, spread = iter(marks), []
    for turn in turns:
        first, *others = turn.text.split(PLACEHOLDER)
        spread.append(replace(turn, text=first + "".join(next(rest) + other for other in others)))
    return flat, sizes, spread
