"""Grounding: boxes that a model writes as text, compared with the true ones."""

import re
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from foveal.core import Box, Size
from recipes.metrics.answers import check_lengths, check_option
from recipes.metrics.mean import Mean, add_counts

BoxScale = Literal["unit", "thousand", "pixel"]
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BRACKETED = re.compile(rf"\[\s*({NUMBER})[,\s]+({NUMBER})[,\s]+({NUMBER})[,\s]+({NUMBER})\s*\]")


class GroundingAccuracy(Mean):
    """Share of boxes that overlap the true one enough (RefCOCO, Yu et al., arXiv 1608.00272). No box is a miss.

    Args:
        scale: what the model's numbers count, see `written_box`; it belongs to the prompt that the model was trained
            with, and is never guessed.
        threshold: smallest intersection over union of a hit, inclusive.

    Attributes:
        unparsed: number of answers without a box; missing ones are counted in `missing`.

    Raises:
        ValueError: if the scale is unknown.
    """

    unparsed: Tensor

    def __init__(self, scale: BoxScale, threshold: float = 0.5) -> None:
        super().__init__()
        check_option("scale", scale, BoxScale)
        self.scale, self.threshold = scale, threshold
        add_counts(self, "unparsed")

    def update(self, predictions: Sequence[str | None], boxes: Sequence[Box], sizes: Sequence[Size]) -> None:
        """Add predictions.

        Args:
            predictions: the answers; None: missing.
            boxes: the true boxes, in pixels of the picture.
            sizes: sizes of the pictures, or, for a model that was trained on padded pictures, of the squares; then the
                true boxes have to be moved by the padding as well.

        Raises:
            ValueError: if the lengths differ.
        """
        check_lengths(predictions=predictions, boxes=boxes, sizes=sizes)
        for prediction, true, size in zip(predictions, boxes, sizes, strict=True):
            box = None if prediction is None else written_box(prediction, size, self.scale)
            hit = box is not None and box_iou(box, true) >= self.threshold
            self.add(None if prediction is None else float(hit))
            self.unparsed = self.unparsed + (prediction is not None and box is None)


def written_box(text: str, size: Size, scale: BoxScale) -> Box | None:
    """The first box in a text, in pixels: four numbers in brackets, else the first four numbers anywhere.

    Corners are put in order, and the box is clipped to the picture.

    Args:
        text: the model's answer.
        size: size of the picture.
        scale: `unit`: numbers of 0 to 1; `thousand`: thousandths of a side; `pixel`: pixels.

    Returns:
        None if there are fewer than four numbers.
    """
    if found := BRACKETED.search(text):
        numbers = [float(each) for each in found.groups()]
    else:
        numbers = [float(each) for each in re.findall(NUMBER, text)[:4]]
    if len(numbers) < 4:
        return None
    width, height = {"unit": (1, 1), "thousand": (1000, 1000), "pixel": size}[scale]
    across = sorted(min(max(each * size.width / width, 0.0), size.width) for each in numbers[::2])
    down = sorted(min(max(each * size.height / height, 0.0), size.height) for each in numbers[1::2])
    return Box(across[0], down[0], across[1], down[1])


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 if one has no area."""
    both = first.overlap(second)
    shared = 0.0 if both is None else both.area
    return shared / (first.area + second.area - shared) if shared else 0.0
