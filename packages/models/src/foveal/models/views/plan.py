"""What every view plan promises."""

from abc import ABC, abstractmethod

from PIL.Image import Image


class ViewPlan(ABC):
    """From a picture's size alone: which views are made of it, at what size, in which order they become tokens.

    A view is one picture that the encoder sees: the whole resized, or a slice of it. An encoder that looks at several
    views together takes `inputs` consecutive ones as one set.

    Attributes:
        inputs: views in a set.
    """

    inputs: int = 1

    @abstractmethod
    def views(self, width: int, height: int) -> tuple[tuple[int, int], ...]:
        """(height, width) in pixels of every view of a picture of width x height pixels; pure.

        Raises:
            ValueError: if the picture has no area or cannot be cut.
        """

    def layout(self, width: int, height: int) -> tuple[int | str, ...]:
        """The order in the prompt: numbers of sets of views, and texts that stand between them."""
        return tuple(range(len(self.views(width, height)) // self.inputs))

    def tile_grid(self, width: int, height: int) -> tuple[int, int] | None:
        """Rows and columns of the tiles that follow the overview, row by row; None: the views lie in no plane."""
        return None

    @abstractmethod
    def cut(self, image: Image) -> list[Image]:
        """The views of an RGB picture, of the sizes and in the order of `views`."""


def check_size(width: int, height: int) -> None:
    """Refuse a picture without area.

    Raises:
        ValueError: if a side is below 1.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width}x{height} pixels has no area")
