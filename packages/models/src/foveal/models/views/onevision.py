"""A single picture in tiles, several without, and the frames of a video: LLaVA-OneVision's views."""

from collections.abc import Sequence
from typing import Literal

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.anyres import AnyResPlan
from foveal.models.views.company import Beside, Frame
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan
from foveal.models.views.square import PadToSquare
from foveal.models.views.stretch import StretchToSquare

CANVASES = tuple((first, second) for first in range(1, 7) for second in range(1, 7))
GREY = (127, 127, 127)
"""SigLIP's mean colour."""


class OneVisionPlan(DraftPlan):
    """The views of LLaVA-OneVision (arXiv 2408.03326, section 3.2; LLaVA-NeXT's code, llava/train/train.py).

    A picture that is alone in its prompt is cut as by `AnyResPlan`. Several pictures become one view each, padded to a
    square. Each frame of a video becomes one view, stretched to a square.

    Args:
        size: side of every view in pixels, the encoder's native size.
        candidates: as for `AnyResPlan`; by default all canvases of up to 6 x 6 tiles.
        tie_order: as for `AnyResPlan`.
        fill: colour around several pictures, in 0..255.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: as for `AnyResPlan`.
    """

    def __init__(
        self,
        size: int = 384,
        candidates: Sequence[tuple[int, int]] = CANVASES,
        tie_order: Literal["width_first", "height_first"] = "width_first",
        *,
        fill: tuple[int, int, int] = GREY,
        draft: bool = False,
    ) -> None:
        self._alone = AnyResPlan(size, candidates, tie_order, draft=draft)
        self._beside = PadToSquare(size, fill=fill, draft=draft)
        self._frame = StretchToSquare(size, draft=draft)
        self.size, self.candidates, self.tie_order = size, self._alone.candidates, tie_order
        self.fill, self.draft = fill, draft

    def in_company(self, pictures: Sequence[Size]) -> tuple[Size, ...]:
        """Videos do not count as pictures: one picture and a video are cut as each of them alone."""
        several = sum(not isinstance(picture, Frame) for picture in pictures) > 1
        return tuple(
            Beside(*picture) if several and not isinstance(picture, Frame) else picture for picture in pictures
        )

    def views(self, picture: Size) -> tuple[Size, ...]:
        return self._of(picture).views(picture)

    def tile_grid(self, picture: Size) -> Grid | None:
        return self._of(picture).tile_grid(picture)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        return self._of(picture).regions(picture)

    def cut_draft(self, picture: Draft) -> list[Image]:
        return self._of(picture.size).cut_draft(picture)

    def sharpest(self, picture: Size) -> Size:
        return self._of(picture).sharpest(picture)

    def _of(self, picture: Size) -> DraftPlan:
        if isinstance(picture, Frame):
            return self._frame
        return self._beside if isinstance(picture, Beside) else self._alone
