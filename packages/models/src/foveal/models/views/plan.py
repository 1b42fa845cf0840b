"""The interface of a view plan."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.company import Frame
from foveal.models.views.draft import Draft


class ViewPlan(ABC):
    """Decides from a picture's size alone which views are cut from it, their sizes and the order of their tokens.

    A view is one image that the encoder sees: the whole picture resized, or a slice of it. An encoder that looks at
    several views together takes `inputs` consecutive ones as one set.

    Attributes:
        inputs: number of views in a set.
        draft: decode a JPEG at a reduced scale if it is at least twice as large as in its sharpest view: several times
            faster for large pictures, and not exact. Plans with this option have `sharpest` and `cut_draft`.
        frames: number of frames of a video that `cut_video` makes one set of views of, so that a video keeps one
            `<image>`; None: every frame becomes a picture of its own.
        enclose_together: pictures that follow each other directly in a prompt stand between one pair of the texts that
            `layout` puts around a single picture, as pages of one document do (GOT-OCR 2.0).
    """

    inputs: int = 1
    draft: bool = False
    frames: int | None = None
    enclose_together: bool = False

    def in_company(self, pictures: Sequence[Size]) -> tuple[Size, ...]:
        """The sizes of all pictures of a prompt as the other methods take them.

        A plan may cut pictures otherwise if there are several, and marks them (see `foveal.models.views.company`); then
        `cut_draft` gets them with the mark. Applied to its own result, it changes nothing.

        Raises:
            ValueError: if there are frames of a video and the plan does not cut them.
        """
        if any(isinstance(picture, Frame) for picture in pictures):
            raise ValueError(
                f"{type(self).__name__} does not cut the frames of a video: ask about single frames, as pictures"
            )
        return tuple(pictures)

    @abstractmethod
    def views(self, picture: Size) -> tuple[Size, ...]:
        """The size of every view of a picture of the given size; a pure function.

        Raises:
            ValueError: if the picture has no area or cannot be cut.
        """

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        """The order in the prompt: indices of sets of views, and texts between them."""
        return tuple(range(len(self.views(picture)) // self.inputs))

    def before(self, number: int) -> tuple[str, ...]:
        """Texts before picture `number` of a conversation, counted from 0, each of one token; by default none."""
        return ()

    def tile_grid(self, picture: Size) -> Grid | None:
        """Rows and columns of the tiles that follow the overview, row by row; None: the views do not form a plane."""
        return None

    def regions(self, picture: Size) -> tuple[Box, ...]:
        """The part of a picture that each view shows, in the order of `views`, so that what is found in a view can be
        laid back on the picture. Where a box reaches beyond the picture, the view shows padding.

        Raises:
            ValueError: as for `views`.
            NotImplementedError: if the plan does not say.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say which part of a picture its views show: give it a method regions"
        )

    @abstractmethod
    def cut(self, image: Image) -> list[Image]:
        """The views of an RGB picture, with the sizes and in the order of `views`."""

    def sharpest(self, picture: Size) -> Size:
        """The size that a whole picture has in the view that shows most of its pixels; for `draft`."""
        raise NotImplementedError(f"{type(self).__name__} has no option draft")

    def cut_draft(self, picture: Draft) -> list[Image]:
        """The views of a picture that was decoded for `draft`, as `cut` makes them of the whole one."""
        raise NotImplementedError(f"{type(self).__name__} has no option draft")

    def cut_video(self, frames: Sequence[Image | Draft]) -> list[Image]:
        """The views of a video, with the sizes and in the order of `views` of one of its frames; for `frames`.

        Args:
            frames: RGB, in their order, all of one size; at least one.
        """
        raise NotImplementedError(f"{type(self).__name__} does not cut a video into one set of views")


class DraftPlan(ViewPlan):
    """A plan with the option `draft`: it cuts a picture and its draft in the same way."""

    def cut(self, image: Image) -> list[Image]:
        return self.cut_draft(Draft.of(image))

    @abstractmethod
    def sharpest(self, picture: Size) -> Size: ...

    @abstractmethod
    def cut_draft(self, picture: Draft) -> list[Image]: ...


def enclosed(start: str, sets: Iterable[int], end: str) -> tuple[int | str, ...]:
    """Indices of sets of views between two texts, as `layout` returns them; an empty text is left out."""
    order: list[int | str] = [start, *sets, end]
    return tuple(item for item in order if item != "")


def check_size(picture: Size) -> None:
    """Refuse a picture without area.

    Raises:
        ValueError: if a side is below 1.
    """
    if min(picture) < 1:
        raise ValueError(f"a picture of {picture} pixels has no area")
