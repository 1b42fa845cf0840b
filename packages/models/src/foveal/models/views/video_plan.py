"""A whole video as one set of views: PLLaVA."""

from collections.abc import Sequence

from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models.views.draft import Draft
from foveal.models.views.plan import ViewPlan


class VideoPlan(ViewPlan):
    """Some frames of a video, one view each, seen together (PLLaVA, arXiv 2404.16994, section 3.2).

    A video is one `<image>`. View i of T shows frame floor((i + 1/2) n / T) of n: frames at even distances, each in the
    middle of its part of the video. A shorter video has its frames repeated, none of them left out. A still picture is
    a video that stands still, as in PLLaVA's training.

    Args:
        plan: cuts each frame, or a still picture, to one view, without texts around it; PLLaVA's is `CropToSquare`.
        frames: number of frames, that of the encoder; `inputs` is the same.

    Raises:
        ValueError: if `frames` is below 1, or the plan takes several views together or videos itself.
    """

    frames: int

    def __init__(self, plan: ViewPlan, *, frames: int = 16) -> None:
        if frames < 1:
            raise ValueError(f"frames is {frames}: a video has at least one")
        if plan.inputs != 1 or plan.frames is not None:
            raise ValueError(f"the plan of a frame must give one view, {type(plan).__name__} gives sets of them")
        self.plan, self.frames = plan, frames
        self.inputs, self.draft = frames, plan.draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        if len(self.plan.views(picture)) != 1 or self.plan.layout(picture) != (0,) or self.plan.before(0):
            raise ValueError(
                f"{type(self.plan).__name__} cuts a frame of {picture} into several views or puts texts around it: "
                "the plan of a frame must give one view, such as CropToSquare"
            )
        return self.plan.views(picture) * self.frames

    def regions(self, picture: Size) -> tuple[Box, ...]:
        return self.plan.regions(picture) * self.frames

    def cut(self, image: Image) -> list[Image]:
        return self.plan.cut(image) * self.frames

    def sharpest(self, picture: Size) -> Size:
        return self.plan.sharpest(picture)

    def cut_draft(self, picture: Draft) -> list[Image]:
        return self.plan.cut_draft(picture) * self.frames

    def cut_video(self, frames: Sequence[Image | Draft]) -> list[Image]:
        # The middle of part i is at (2 i + 1) / (2 T) of the video; in whole numbers, so that none is rounded wrongly.
        shown = [(2 * number + 1) * len(frames) // (2 * self.frames) for number in range(self.frames)]
        cut = {number: self._view(frames[number]) for number in dict.fromkeys(shown)}
        return [cut[number] for number in shown]

    def _view(self, frame: Image | Draft) -> Image:
        (view,) = self.plan.cut_draft(frame) if isinstance(frame, Draft) else self.plan.cut(frame)
        return view
