"""The models that read a chart: those that Foveal opens, and any other that transformers knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL.Image import Image

from foveal.core import Size
from foveal.models import VisionLanguageModel, answer_batch, load
from foveal.models.estimates.cost import prompt_tokens
from recipes.acuity_chart.foreign import ForeignReader, foreign_kind
from recipes.acuity_chart.seams import Seam, seams_of
from recipes.estimates.room import check_room_to_answer, free_bytes


class Reader(Protocol):
    """A model that answers a question about pages."""

    def answers(self, pages: Sequence[Image], question: str, *, max_new_tokens: int) -> list[str]:
        """Answer the question about each page, all together."""

    def tokens(self, page: Size) -> int | None:
        """Visual tokens of a page in the prompt; None: not known."""


class FovealReader:
    """A model that `foveal.models.load` opened.

    Args:
        model: on its device.
    """

    def __init__(self, model: VisionLanguageModel) -> None:
        self.model = model

    def answers(self, pages: Sequence[Image], question: str, *, max_new_tokens: int) -> list[str]:
        questions = [(page, question) for page in pages]
        return answer_batch(self.model, questions, batch_size=len(questions), max_new_tokens=max_new_tokens)

    def tokens(self, page: Size) -> int | None:
        return prompt_tokens(self.model, [page])[0]


class Candidate:
    """A model that is to read the chart, as long as its weights are not read.

    Args:
        checkpoint: folder or hub name.
        allow: packages that the checkpoint's parts may come from.

    Attributes:
        checkpoint: as given.
        way: how it is opened, in words.

    Raises:
        ValueError: if neither Foveal nor transformers knows such a model.
    """

    def __init__(self, checkpoint: Path, allow: Sequence[str]) -> None:
        self.checkpoint, self.allow = checkpoint, allow
        self._shapes: VisionLanguageModel | None = None
        try:
            with torch.device("meta"):
                self._shapes = load(checkpoint, allow=allow)
            self.way = "opened by foveal.models.load"
        except ValueError as error:
            kind = foreign_kind(checkpoint)
            if kind is None:
                raise
            self.way = f"opened by transformers as {kind}, since foveal.models.load does not: {_first_line(error)}"

    def seams(self, page: Size) -> tuple[Seam, ...] | None:
        """Where the model's views of a page meet; None: not known.

        Raises:
            ValueError: if the model cannot cut such a page.
        """
        if self._shapes is None:
            return None
        try:
            return seams_of(self._shapes.processor.plan, page)
        except NotImplementedError:
            return None

    def opened(
        self, device: str, pages: Sequence[Size], question: str, *, max_new_tokens: int, batch_size: int
    ) -> Reader:
        """Read the weights.

        Args:
            device: where the model is put.
            pages: sizes of the pages; on a GPU there must be memory for the largest.
            question: that will be asked.
            max_new_tokens: longest answer in tokens.
            batch_size: pages read together.

        Raises:
            ValueError: if there is not enough memory, or a weight is missing.
        """
        if self._shapes is None:
            return ForeignReader(self.checkpoint, device)
        check_room_to_answer(
            self.checkpoint,
            [max(pages, key=lambda page: page.area)],
            question,
            new_tokens=max_new_tokens,
            free=free_bytes(device),
            batch_size=batch_size,
            allow=self.allow,
        )
        return FovealReader(load(self.checkpoint, allow=self.allow).to(device))


def _first_line(error: ValueError) -> str:
    return str(error).splitlines()[0].partition("; ")[0][:200]
