"""A video as a model reads it: some of its frames."""

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.models.views.any_picture import Picture


@dataclass(frozen=True)
class Video:
    """Frames that are read together, in the place of one `<image>`.

    Which frames are taken from a file is up to you: LLaVA-OneVision was trained with 32 at even distances, PLLaVA with
    16. A plan with `frames` takes as many of yours.

    Attributes:
        frames: in their order, in any form that `rgb_of` takes.

    Raises:
        ValueError: if there is no frame.
    """

    frames: Sequence[Picture]

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("a video has at least one frame")
