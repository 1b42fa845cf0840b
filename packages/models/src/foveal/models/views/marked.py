"""Any plan's views between two marks in the prompt: LLaVA's `mm_use_im_start_end`."""

from collections.abc import Sequence

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.draft import Draft
from foveal.models.views.plan import ViewPlan

START, END = "<im_start>", "<im_end>"
"""LLaVA's marks (llava/constants.py)."""


class MarkedPlan(ViewPlan):
    """The views of another plan; in the prompt, one token stands before every picture and one after it.

    Args:
        plan: cuts the views.
        start: text before the picture, a token that was added to the tokenizer.
        end: text after the picture, likewise.

    Raises:
        ValueError: if a mark is empty.
    """

    def __init__(self, plan: ViewPlan, *, start: str = START, end: str = END) -> None:
        if not start or not end:
            raise ValueError(f"marks around a picture must not be empty, they are {start!r} and {end!r}")
        self.plan, self.start, self.end = plan, start, end
        self.inputs, self.draft, self.frames = plan.inputs, plan.draft, plan.frames

    def in_company(self, pictures: Sequence[Size]) -> tuple[Size, ...]:
        """Those of the other plan; frames of a video are refused, as each of them would get marks."""
        return self.plan.in_company(super().in_company(pictures))

    def views(self, picture: Size) -> tuple[Size, ...]:
        return self.plan.views(picture)

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        return (self.start, *self.plan.layout(picture), self.end)

    def before(self, number: int) -> tuple[str, ...]:
        return self.plan.before(number)

    def tile_grid(self, picture: Size) -> Grid | None:
        return self.plan.tile_grid(picture)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        return self.plan.regions(picture)

    def cut(self, image: Image) -> list[Image]:
        return self.plan.cut(image)

    def sharpest(self, picture: Size) -> Size:
        return self.plan.sharpest(picture)

    def cut_draft(self, picture: Draft) -> list[Image]:
        return self.plan.cut_draft(picture)

    def cut_video(self, frames: Sequence[Image | Draft]) -> list[Image]:
        return self.plan.cut_video(frames)
