"""One square view of the whole picture, whose aspect ratio is not kept."""

from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models.views.canvas import check_canvas, stretched
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size


class StretchToSquare(DraftPlan):
    """The whole picture, stretched to a square: published checkpoints whose pictures are resized to height and width.

    Args:
        size: side of the view in pixels.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` is below 1, or the view has more pixels than a canvas may have.
    """

    def __init__(self, size: int = 336, *, draft: bool = False) -> None:
        check_canvas(1, size)
        self.size, self.draft = size, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        return (Size(self.size, self.size),)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        check_size(picture)
        return (Box.whole(picture),)

    def cut_draft(self, picture: Draft) -> list[Image]:
        return [stretched(picture, Size(self.size, self.size))]

    def sharpest(self, picture: Size) -> Size:
        return Size(self.size, self.size)
